"""AUGRU against its equations, and its hand-written backward pass against numerical and recorded gradients."""

import torch
from torch import Tensor

from recstack.models.augru import AUGRU

USERS, CANDIDATES, STEPS, INPUT, HIDDEN = 2, 3, 5, 4, 6


def example() -> tuple[AUGRU, Tensor, Tensor]:
    torch.manual_seed(0)
    steps_BLD = torch.randn(USERS, STEPS, INPUT, dtype=torch.float64)
    attention_BNL = torch.rand(USERS, CANDIDATES, STEPS, dtype=torch.float64)
    return AUGRU(INPUT, HIDDEN).double(), steps_BLD, attention_BNL


def by_equation(augru: AUGRU, steps_BLD: Tensor, attention_BNL: Tensor) -> Tensor:
    """Equations 12-16 of Zhou et al., 2019, one user, candidate and step at a time."""
    update_HD, reset_HD, new_HD = augru.input.weight.chunk(3)
    update_bias, reset_bias, new_bias = augru.input.bias.chunk(3)
    update_HH, reset_HH, new_HH = augru.recurrent_GH.chunk(3)
    rows = []
    for user in range(USERS):
        for candidate in range(CANDIDATES):
            hidden = torch.zeros(HIDDEN, dtype=torch.float64)
            for step in range(STEPS):
                x = steps_BLD[user, step]
                update = torch.sigmoid(update_HD @ x + update_bias + update_HH @ hidden)
                reset = torch.sigmoid(reset_HD @ x + reset_bias + reset_HH @ hidden)
                new = torch.tanh(new_HD @ x + new_bias + reset * (new_HH @ hidden))
                scaled = attention_BNL[user, candidate, step] * update
                hidden = (1 - scaled) * hidden + scaled * new
            rows.append(hidden)
    return torch.stack(rows).view(USERS, CANDIDATES, HIDDEN)


def test_both_forward_passes_follow_the_equations() -> None:
    augru, steps_BLD, attention_BNL = example()
    expected = by_equation(augru, steps_BLD, attention_BNL)
    torch.testing.assert_close(augru(augru.project(steps_BLD), attention_BNL), expected)
    with torch.no_grad():
        torch.testing.assert_close(augru(augru.project(steps_BLD), attention_BNL), expected)


def test_gradients_match_those_that_autograd_records() -> None:
    augru, steps_BLD, attention_BNL = example()
    leaves = [steps_BLD.requires_grad_(), attention_BNL.requires_grad_(), *augru.parameters()]
    weights = torch.randn(USERS, CANDIDATES, HIDDEN, dtype=torch.float64)
    expected = torch.autograd.grad((by_equation(augru, steps_BLD, attention_BNL) * weights).sum(), leaves)
    got = torch.autograd.grad((augru(augru.project(steps_BLD), attention_BNL) * weights).sum(), leaves)
    for value, reference in zip(got, expected, strict=True):
        torch.testing.assert_close(value, reference)


def test_a_step_without_attention_changes_nothing() -> None:
    augru, steps_BLD, attention_BNL = example()
    attention_BNL[..., 2:] = 0
    short = augru(augru.project(steps_BLD[:, :2]), attention_BNL[..., :2])
    torch.testing.assert_close(augru(augru.project(steps_BLD), attention_BNL), short)
    attention_BNL[:] = 0
    assert (augru(augru.project(steps_BLD), attention_BNL) == 0).all()
