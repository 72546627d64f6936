"""Memories of the training rows: what they hold, and that a rating is left out of the memory that predicts it."""

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


def test_an_owner_is_the_sum_of_what_it_rated() -> None:
    made = memory()
    values_BM = made.signed(OTHERS) * (RATINGS - made.centre_P[OTHERS]).unsqueeze(1) + made.plain(OTHERS)
    torch.testing.assert_close(made.total_OM[1], values_BM[:2].sum(0))
    torch.testing.assert_close(made.total_OM[0], torch.zeros(6))
    assert made.count_O.tolist() == [0, 2, 2, 1]


def test_a_rating_is_left_out_of_the_memory_that_predicts_it() -> None:
    """The same as a memory that has never seen the row, apart from the other side's mean rating."""
    made, without = memory(), memory()
    without.learn_from(OWNERS[1:], OTHERS[1:], RATINGS[1:])
    without.centre_P = made.centre_P
    kept = RATINGS[1:].float() - made.centre_P[OTHERS[1:]]
    without.surplus_O = torch.zeros(4).index_add_(0, OWNERS[1:], kept)
    without.refresh()
    torch.testing.assert_close(made.recall_without(OWNERS[:1], OTHERS[:1], RATINGS[:1]), without.recall(OWNERS[:1]))


def test_the_rating_itself_does_not_reach_its_own_prediction() -> None:
    rows = OWNERS[:1], OTHERS[:1]
    recalled = []
    for rating in (1, 5):
        ratings = RATINGS.clone()
        ratings[0] = rating
        made = memory()
        made.learn_from(OWNERS, OTHERS, ratings)
        recalled.append(made.recall_without(*rows, ratings[:1]))
    torch.testing.assert_close(recalled[0], recalled[1])


def test_gradients_are_those_of_the_sums_written_out() -> None:
    made, plain = memory(), memory()
    weights_OM = torch.randn(4, 6)
    (made._totals() * weights_OM).sum().backward()
    values_BM = plain.signed(OTHERS) * (RATINGS - plain.centre_P[OTHERS]).unsqueeze(1) + plain.plain(OTHERS)
    (torch.zeros(4, 6).index_add(0, OWNERS, values_BM) * weights_OM).sum().backward()
    for name in ("signed", "plain"):
        torch.testing.assert_close(getattr(made, name).weight.grad, getattr(plain, name).weight.grad)


def test_unknown_owners_remember_nothing() -> None:
    made = memory()
    unknown = made.recall_without(torch.tensor([0]), torch.tensor([2]), torch.tensor([5]))
    torch.testing.assert_close(unknown, made.recall(torch.tensor([0])))
    torch.testing.assert_close(unknown[0, -2:], torch.zeros(2))
