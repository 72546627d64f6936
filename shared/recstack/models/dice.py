"""Dice: an activation whose bend follows the distribution of its input.

Zhou et al., Deep Interest Network for Click-Through Rate Prediction, 2018: f(s) = p s + (1 - p) alpha s
with p = sigmoid((s - E[s]) / sqrt(Var[s] + epsilon)), the moments taken over the batch while training and running
averages of them afterwards.

Shape legend: R rows, F units.
"""

import torch
from torch import Tensor, nn

MOMENTUM = 0.05
EPSILON = 1e-6


class Dice(nn.Module):
    """Data-adaptive PReLU (Zhou et al., 2018)."""

    mean_F: Tensor
    variance_F: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((width,), 0.25))
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("variance_F", torch.ones(width))

    def forward(self, rows_RF: Tensor, real_R: Tensor | None = None) -> Tensor:
        """[R, F]. Rows that are not `real_R` are padding and have no part in the moments of training."""
        mean_F, variance_F = self.mean_F, self.variance_F
        if self.training:
            real_R = rows_RF.new_ones(len(rows_RF), dtype=torch.bool) if real_R is None else real_R
            weights_R1 = (real_R / real_R.sum().clamp(min=1)).to(rows_RF.dtype).unsqueeze(1)
            mean_F = (rows_RF * weights_R1).sum(0)
            variance_F = ((rows_RF - mean_F).square() * weights_R1).sum(0)
            with torch.no_grad():
                self.mean_F.lerp_(mean_F.to(self.mean_F.dtype), MOMENTUM)
                self.variance_F.lerp_(variance_F.to(self.variance_F.dtype), MOMENTUM)
        p_RF = torch.sigmoid((rows_RF - mean_F) * (variance_F + EPSILON).rsqrt())
        return rows_RF * (self.alpha + (1 - self.alpha) * p_RF)
