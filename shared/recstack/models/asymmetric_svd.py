"""Asymmetric-SVD: a linear memory of a signed history that needs no user id.

Koren, Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model, 2008, equation 13: a user is
the sum of the factors of the items that were rated, each weighted by how far the rating was from what was expected,
over the root of their number. It answers "did the user like similar items more than others do?", which a recurrent
state of a few dozen units learns slowly. A running sum costs the same for a memory of any length.

Shape legend: B users, L history steps, N candidates, D item features, M memory units.
"""

import torch
from torch import Tensor, nn


class AsymmetricSVD(nn.Module):
    """Match of candidates with the residuals of a history (Koren, 2008)."""

    def __init__(self, item_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(item_dim, memory_dim, bias=False)
        self.query = nn.Linear(item_dim, memory_dim, bias=False)

    def remember(self, items_BLD: Tensor, residuals_BL: Tensor) -> Tensor:
        """Memory [B, L, M] after each step."""
        total_BLM = (self.value(items_BLD) * residuals_BL.unsqueeze(2)).cumsum(1)
        steps_L1 = torch.arange(1, total_BLM.shape[1] + 1, device=total_BLM.device).unsqueeze(1)
        memory_BLM: Tensor = total_BLM / (1.0 + steps_L1).sqrt()
        return memory_BLM

    def forward(self, memory_BNM: Tensor, candidates_BND: Tensor) -> Tensor:
        """Logits [B, N] of candidates against the memory that each of them sees."""
        logits_BN: Tensor = (memory_BNM * self.query(candidates_BND)).sum(2)
        return logits_BN
