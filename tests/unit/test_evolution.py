"""The recurrences against their equations, and the hand-written backward pass against recorded gradients."""

import pytest
import torch
from torch import Tensor

from recstack.errors import InvalidRequestError
from recstack.models.evolution import AUGRU, EVOLUTIONS, GRU, AttentionSum
from recstack.models.interest import InterestEvolution
from recstack.models.recurrence import evolve

USERS, CANDIDATES, STEPS, INPUT, HIDDEN = 2, 3, 5, 4, 6


def gru(inputs_G: Tensor, recurrent_G: Tensor) -> tuple[Tensor, Tensor]:
    """Update gate and candidate state of a GRU."""
    (input_u, input_r, input_c), (recurrent_u, recurrent_r, recurrent_c) = inputs_G.chunk(3), recurrent_G.chunk(3)
    reset = torch.sigmoid(input_r + recurrent_r)
    return torch.sigmoid(input_u + recurrent_u), torch.tanh(input_c + reset * recurrent_c)


def next_interest(kind: str, model: AUGRU, x_D: Tensor, interest_H: Tensor, attention: Tensor) -> Tensor:
    """One step of Zhou et al., 2019, for one user and candidate."""
    weight_GD, bias_G = model.input.weight, model.input.bias
    seen_D = attention * x_D if kind == "aigru" else x_D
    update, new = gru(weight_GD @ seen_D + bias_G, interest_H @ model.recurrent_HG)
    moved = {"augru": attention * update, "agru": attention, "aigru": update}[kind]
    return (1 - moved) * interest_H + moved * new


def by_equation(kind: str, model: AUGRU, steps_BLD: Tensor, attention_KBN: Tensor) -> Tensor:
    rows = []
    for user in range(USERS):
        for candidate in range(CANDIDATES):
            interest_H = torch.zeros(HIDDEN, dtype=torch.float64)
            for step in range(STEPS):
                attention = attention_KBN[step, user, candidate]
                interest_H = next_interest(kind, model, steps_BLD[user, step], interest_H, attention)
            rows.append(interest_H)
    return torch.stack(rows).view(USERS, CANDIDATES, HIDDEN)


def example() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    steps_BLD = torch.randn(USERS, STEPS, INPUT, dtype=torch.float64)
    return steps_BLD, torch.rand(STEPS, USERS, CANDIDATES, dtype=torch.float64)


def attended(inputs_BLX: Tensor) -> Tensor:
    """All steps, first to last, the same for all candidates of a user."""
    return inputs_BLX.transpose(0, 1).unsqueeze(2)


@pytest.mark.parametrize("kind", ["augru", "agru", "aigru"])
@pytest.mark.parametrize("recorded", [True, False])
def test_recurrences_follow_their_equations(kind: str, recorded: bool) -> None:
    steps_BLD, attention_KBN = example()
    model = EVOLUTIONS[kind](INPUT, HIDDEN).double()
    assert isinstance(model, AUGRU)
    with torch.set_grad_enabled(recorded):
        got = model(attended(model.project(steps_BLD)), attention_KBN)
    torch.testing.assert_close(got, by_equation(kind, model, steps_BLD, attention_KBN))


def test_the_attention_sum_weighs_the_steps() -> None:
    steps_BLD, attention_KBN = example()
    model = AttentionSum(INPUT, HIDDEN).double()
    expected = torch.einsum("kbn,bkh->bnh", attention_KBN, steps_BLD @ model.input.weight.t())
    torch.testing.assert_close(model(attended(model.project(steps_BLD)), attention_KBN), expected)


@pytest.mark.parametrize("rows", [1, CANDIDATES])
def test_gradients_match_those_that_autograd_records(rows: int) -> None:
    """With inputs of each candidate's own, and with one for all of them."""
    _, attention_KBN = example()
    inputs_KBMG = torch.randn(STEPS, USERS, rows, 3 * HIDDEN, dtype=torch.float64)
    recurrent_HG = torch.randn(HIDDEN, 3 * HIDDEN, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (inputs_KBMG, attention_KBN, recurrent_HG)]
    states = []
    state_BNH = torch.zeros(USERS, CANDIDATES, HIDDEN, dtype=torch.float64)
    for input_BMG, attention_BN in zip(inputs_KBMG, attention_KBN, strict=True):
        gates_GBN = input_BMG.movedim(2, 0), (state_BNH @ recurrent_HG).movedim(2, 0)
        update_BNH, new_BNH = (part_HBN.movedim(0, 2) for part_HBN in gru(*gates_GBN))
        moved_BNH = attention_BN.unsqueeze(2) * update_BNH
        state_BNH = (1 - moved_BNH) * state_BNH + moved_BNH * new_BNH
        states.append(state_BNH)
    expected_KBNH, got_KBNH = torch.stack(states), evolve(*leaves)
    torch.testing.assert_close(got_KBNH, expected_KBNH)
    weights_KBNH = torch.randn_like(expected_KBNH)
    expected = torch.autograd.grad((expected_KBNH * weights_KBNH).sum(), leaves)
    got = torch.autograd.grad((got_KBNH * weights_KBNH).sum(), leaves)
    for value, reference in zip(got, expected, strict=True):
        torch.testing.assert_close(value, reference)


def test_no_attention_is_an_attention_of_one() -> None:
    inputs_KBNG = torch.randn(STEPS, USERS, CANDIDATES, 3 * HIDDEN, dtype=torch.float64, requires_grad=True)
    recurrent_HG = torch.randn(HIDDEN, 3 * HIDDEN, dtype=torch.float64, requires_grad=True)
    results = []
    for attention_KBN in (None, torch.ones(STEPS, USERS, CANDIDATES, dtype=torch.float64)):
        states_KBNH = evolve(inputs_KBNG, attention_KBN, recurrent_HG)
        gradients = torch.autograd.grad(states_KBNH.square().sum(), (inputs_KBNG, recurrent_HG))
        with torch.no_grad():
            torch.testing.assert_close(evolve(inputs_KBNG, attention_KBN, recurrent_HG), states_KBNH)
        results.append((states_KBNH, *gradients))
    for without, with_ones in zip(*results, strict=True):
        torch.testing.assert_close(without, with_ones)


def test_the_gru_is_the_same_with_and_without_recording() -> None:
    steps_BLD, _ = example()
    model = GRU(INPUT, HIDDEN).double()
    with torch.no_grad():
        plain = model(steps_BLD)
    torch.testing.assert_close(model(steps_BLD), plain)
    update, new = gru(model.input.weight @ steps_BLD[0, 0] + model.input.bias, torch.zeros(3 * HIDDEN).double())
    torch.testing.assert_close(plain[0, 0], update * new)


@pytest.mark.parametrize("kind", EVOLUTIONS)
def test_a_step_without_attention_changes_nothing(kind: str) -> None:
    steps_BLD, attention_KBN = example()
    model = EVOLUTIONS[kind](INPUT, HIDDEN).double()
    attention_KBN[2:] = 0
    short = model(attended(model.project(steps_BLD[:, :2])), attention_KBN[:2])
    torch.testing.assert_close(model(attended(model.project(steps_BLD)), attention_KBN), short)
    attention_KBN[:] = 0
    assert (model(attended(model.project(steps_BLD)), attention_KBN) == 0).all()


def test_an_unknown_evolution_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="'lstm'"):
        InterestEvolution(HIDDEN, 4, "lstm", STEPS)
