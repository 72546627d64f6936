"""What the ratings of a history say: how each differs from what was expected, and running figures of them.

Shape legend: B users, L history steps, S statistics.
"""

import torch
from torch import Tensor, nn

STARTING_OPINIONS = (0.6, 0.0, 0.1, 0.35, 0.8, 1.0)
"""What rating ids 0 (none) to 5 say at first, as the probability of a like; learnt from there."""

RESIDUAL_SCALE = 2.0
"""Brings residuals of probabilities, typically +-0.5, to unit size; learning is visibly slower without it."""

NUM_STATISTICS = 5
RECENT_STEPS = 10
PRIOR_STEPS = 4.0
"""Steps at the average that running means start with, so that the first few ratings do not swing them."""


class Residuals(nn.Module):
    """How far each opinion was from the item's average: the signal of a signed history."""

    def __init__(self) -> None:
        super().__init__()
        self.opinion = nn.Parameter(torch.tensor(STARTING_OPINIONS))

    def forward(self, bias_BL: Tensor, ratings_BL: Tensor) -> Tensor:
        """Residuals [B, L] of about unit size from items' biases (logits of a like) and rating ids."""
        return RESIDUAL_SCALE * (self.opinion[ratings_BL] - torch.sigmoid(bias_BL))


class HistoryStatistics(nn.Module):
    """A user's continuous features after each step, normalised: history length, mean rating given, mean residual of
    all steps and of the last ones, and mean expectation (does the user watch what everyone likes?).

    The means and deviations are fixed: round figures, set by judgement for ratings of 1 to 5, that bring the statistics
    to about unit size. A user without a history has zeros, which is close to the average.
    """

    mean_S: Tensor
    deviation_S: Tensor

    MEANS = (3.6, 3.6, 0.0, 0.0, 0.55)
    DEVIATIONS = (1.2, 0.4, 0.3, 0.5, 0.08)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_S", torch.tensor(self.MEANS))
        self.register_buffer("deviation_S", torch.tensor(self.DEVIATIONS))

    def forward(self, bias_BL: Tensor, ratings_BL: Tensor, residuals_BL: Tensor) -> Tensor:
        """Statistics [B, L, S] after each step."""
        steps_L = torch.arange(1, bias_BL.shape[1] + 1, device=bias_BL.device, dtype=bias_BL.dtype)
        mean_S = self.mean_S.to(bias_BL.dtype)
        sums_BL3 = torch.stack([ratings_BL - mean_S[1], residuals_BL, bias_BL.sigmoid() - mean_S[4]], dim=2).cumsum(1)
        rating_BL, residual_BL, expectation_BL = (sums_BL3 / (steps_L + PRIOR_STEPS).unsqueeze(1)).unbind(2)
        older_BL = nn.functional.pad(sums_BL3[..., 1], (RECENT_STEPS, 0))[:, :-RECENT_STEPS]
        recent_BL = (sums_BL3[..., 1] - older_BL) / (steps_L.clamp(max=RECENT_STEPS) + PRIOR_STEPS)
        length_BL = (torch.log1p(steps_L) - mean_S[0]).expand_as(rating_BL)
        statistics_BLS = torch.stack([length_BL, rating_BL, residual_BL, recent_BL, expectation_BL], dim=2)
        return statistics_BLS / self.deviation_S

    def at_end(self, expected_BL: Tensor, ratings_BL: Tensor, residuals_BL: Tensor, real_BL: Tensor) -> Tensor:
        """Statistics [B, S] after the last real step: the last of `forward`, zeros without a step.

        expected_BL: the sigmoid of the items' biases. real_BL: False where a step is padding.
        """
        mean_S, real_BL = self.mean_S.to(expected_BL.dtype), real_BL.to(expected_BL.dtype)
        steps_B1 = real_BL.sum(1, keepdim=True)
        recent_BL = real_BL * (steps_B1 - torch.arange(real_BL.shape[1], device=real_BL.device) <= RECENT_STEPS)
        terms_BL3 = torch.stack([ratings_BL - mean_S[1], residuals_BL, expected_BL - mean_S[4]], dim=2)
        all_B3, recent_B3 = (torch.stack([real_BL, recent_BL], dim=1) @ terms_BL3).unbind(1)
        rating_B1, residual_B1, expectation_B1 = torch.split(all_B3 / (steps_B1 + PRIOR_STEPS), 1, dim=1)
        recent_B1 = recent_B3[:, 1:2] / (steps_B1.clamp(max=RECENT_STEPS) + PRIOR_STEPS)
        length_B1 = torch.log1p(steps_B1) - mean_S[0]
        statistics_BS = torch.cat([length_B1, rating_B1, residual_B1, recent_B1, expectation_B1], dim=1)
        return statistics_BS / self.deviation_S * (steps_B1 > 0)
