"""A linear memory of a request's history: what the user thought of past items, the recent ones counting more if asked.

Koren, 2008, as in `asymmetric_svd`, with memories that forget: an event k steps ago counts 2^(-k / half-life). Each
candidate may see another length of the history, so that one pass over it serves many targets.

Shape legend: B users, L history steps, N candidates, M units of one memory, K memories.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recstack.features.batch import NUM_RATING_IDS
from recstack.models.opinions import RESIDUAL_SCALE, STARTING_OPINIONS

PRIOR_STEPS = 3.0
"""Steps without a deviation that are added to the seen ones before residuals are averaged."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A history that can be read: what each step adds to the memories, and how many steps are real."""

    signed_BLM: Tensor
    residual_BL: Tensor
    lengths_B: Tensor


class HistoryMemory(nn.Module):
    """Signed sums of a history (Koren, 2008), one for each half-life in steps; a half-life of 0 never forgets.

    ratings: whether what is predicted is a rating (1..5) or the probability of a like.
    """

    def __init__(self, half_lives: tuple[float, ...], ratings: bool) -> None:
        super().__init__()
        self.ratings = ratings
        opinions = torch.arange(float(NUM_RATING_IDS)) if ratings else torch.tensor(STARTING_OPINIONS)
        self.opinion = nn.Parameter(opinions)
        decays = [2 ** (-1 / half_life) if half_life else 1.0 for half_life in half_lives]
        self.register_buffer("log_decay_K", torch.tensor(decays).log(), persistent=False)
        self.log_decay_K: Tensor

    def remember(self, values_BLM: Tensor, biases_BL: Tensor, ratings_BL: Tensor, lengths_B: Tensor) -> Remembered:
        """Take in a history: each step's values, the bias of its item, and the rating id."""
        expected_BL = biases_BL if self.ratings else torch.sigmoid(biases_BL)
        residual_BL = self.opinion[ratings_BL] - expected_BL
        if not self.ratings:
            residual_BL = RESIDUAL_SCALE * residual_BL
        residual_BL = torch.where(ratings_BL > 0, residual_BL, 0.0)
        return Remembered(values_BLM * residual_BL.unsqueeze(2), residual_BL, lengths_B)

    def read(self, history: Remembered, visible_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        """What candidates see that may see the first `visible_BN` steps (None: one column that sees all).

        Units [B, N, K * M], and stats [B, N, K + 1]: the mean residual of each memory, and how many steps there are.
        """
        visible_BN = history.lengths_B.unsqueeze(1) if visible_BN is None else visible_BN.clamp(min=0)
        steps_L = torch.arange(history.signed_BLM.shape[1], device=visible_BN.device)
        ago_BNL = visible_BN.unsqueeze(2) - 1 - steps_L
        units, stats = [], []
        for log_decay in self.log_decay_K:
            weights_BNL = (ago_BNL.clamp(min=0) * log_decay).exp().masked_fill(ago_BNL < 0, 0.0)
            seen_BN1 = weights_BNL.sum(2, keepdim=True)
            if history.signed_BLM.shape[2]:
                units.append((weights_BNL @ history.signed_BLM) / (1.0 + seen_BN1).sqrt())
            residual_BN1 = (weights_BNL * history.residual_BL.unsqueeze(1)).sum(2, keepdim=True)
            stats.append(residual_BN1 / (PRIOR_STEPS + seen_BN1))
        if not units:
            units.append(history.signed_BLM[:, :1].expand(-1, visible_BN.shape[1], -1))
        return torch.cat(units, dim=2), torch.cat([*stats, torch.log1p(visible_BN.unsqueeze(2)) / 4.0], dim=2)
