"""Memories of the training rows: what they hold, what follows from it, and what is served."""

import pytest
import torch

from recstack.models.training_memory import TrainingMemory

OWNERS = torch.tensor([1, 1, 2, 2, 3])
OTHERS = torch.tensor([1, 2, 1, 3, 2])
RATINGS = torch.tensor([5, 3, 1, 4, 2])


def memory() -> TrainingMemory:
    torch.manual_seed(0)
    made = TrainingMemory(num_owners=3, num_others=4, dim=6)
    with torch.no_grad():
        made.signed.weight.normal_()
        made.plain.weight.normal_()
    made.learn_from(OWNERS, OTHERS, RATINGS)
    made.refresh()
    return made


def written_out(made: TrainingMemory) -> torch.Tensor:
    values_BM = made.signed(OTHERS) * (RATINGS - made.centre_P[OTHERS]).unsqueeze(1) + made.plain(OTHERS)
    return torch.zeros(4, 6).index_add(0, OWNERS, values_BM)


def test_an_owner_is_the_sum_of_what_it_rated() -> None:
    made = memory()
    torch.testing.assert_close(made.total_OM, written_out(made))
    assert made.count_O.tolist() == [0, 2, 2, 1]


def test_residuals_are_against_the_other_sides_mean() -> None:
    made = memory()
    rows_of_1 = [5, 1]
    assert made.centre_P[1].item() == pytest.approx((sum(rows_of_1) + 4 * 3.0) / (2 + 4))
    residuals = [5 - made.centre_P[1].item(), 3 - made.centre_P[2].item()]
    assert made.surplus_O[1].item() == pytest.approx(sum(residuals), abs=1e-5)


def test_gradients_are_those_of_the_sums_written_out() -> None:
    made, plain = memory().train(), memory()
    weights_OM = torch.randn(4, 6)
    (made.recall(torch.arange(4))[:, :6] * weights_OM).sum().backward()
    scaled_OM = written_out(plain) / (plain.count_O + 4.0).sqrt().unsqueeze(1)
    (torch.tanh(scaled_OM) * weights_OM).sum().backward()
    for name in ("signed", "plain"):
        torch.testing.assert_close(getattr(made, name).weight.grad, getattr(plain, name).weight.grad)


def test_what_is_served_is_what_was_refreshed_last() -> None:
    made = memory()
    served = made.eval().recall(torch.tensor([1]))
    made.train()
    torch.testing.assert_close(made.recall(torch.tensor([1])), served)
    with torch.no_grad():
        made.plain.weight.add_(1.0)
    assert (made.recall(torch.tensor([1])) - served)[:, :6].abs().min() > 1e-3
    torch.testing.assert_close(made.eval().recall(torch.tensor([1])), served)


def test_rows_that_are_not_remembered_leave_no_trace() -> None:
    made, other = memory(), memory()
    made.learn_from(OWNERS[1:], OTHERS[1:], RATINGS[1:])
    other.learn_from(OWNERS, OTHERS, torch.tensor([1, 3, 1, 4, 2]))
    other.learn_from(OWNERS[1:], OTHERS[1:], RATINGS[1:])
    for each in (made, other):
        each.refresh()
    torch.testing.assert_close(made.recall(torch.arange(4)), other.recall(torch.arange(4)))
    assert made.count_O.tolist() == [0, 1, 2, 1]


def test_unknown_owners_remember_nothing() -> None:
    made = memory().eval()
    torch.testing.assert_close(made.recall(torch.tensor([0]))[0], torch.zeros(8))
