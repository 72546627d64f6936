"""Dice against its formula; padding has no part in its moments, and serving uses those of the training."""

import torch

from recstack.models.dice import EPSILON, Dice


def by_formula(rows: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, alpha: float) -> torch.Tensor:
    """Dice as Zhou et al., 2018, define it."""
    p = torch.sigmoid((rows - mean) / (variance + EPSILON).sqrt())
    return p * rows + (1 - p) * alpha * rows


def test_moments_are_those_of_the_real_rows() -> None:
    torch.manual_seed(0)
    rows, real = torch.randn(9, 3) * 2 + 1, torch.arange(9) < 6
    expected = by_formula(rows, rows[:6].mean(0), rows[:6].var(0, unbiased=False), 0.25)
    torch.testing.assert_close(Dice(3).train()(rows, real), expected)


def test_serving_uses_running_moments_that_come_close_to_the_data() -> None:
    torch.manual_seed(0)
    dice, real = Dice(3).train(), torch.ones(500, dtype=torch.bool)
    for _ in range(150):
        dice(torch.randn(500, 3) * 2 + 1, real)
    torch.testing.assert_close(dice.mean_F, torch.full((3,), 1.0), atol=0.1, rtol=0)
    torch.testing.assert_close(dice.variance_F, torch.full((3,), 4.0), atol=0.3, rtol=0)
    rows, before = torch.randn(4, 3), dice.mean_F.clone()
    served = dice.eval()(rows, real[:4])
    torch.testing.assert_close(served, by_formula(rows, dice.mean_F, dice.variance_F, 0.25))
    torch.testing.assert_close(dice(rows[:1], real[:1]), served[:1])
    assert torch.equal(dice.mean_F, before)
