"""What the training rows say about a user or an item, summed over the other side's factors and kept with the model.

Koren, Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model, 2008 (SVD++: a user is also
the sum of the items that the user rated), with signed residuals; and the same from the item's side, as in I-AutoRec
(Sedhain et al., AutoRec: Autoencoders Meet Collaborative Filtering, 2015), where a non-linear unit follows the sum.

While training, the memory must hold none of the rows that are predicted, and leaving out each row alone is not enough:
a model that knows the user by id knows the whole sum and reads the rating from what is missing. Tasks hold out a large
part of the rows at a time.

An owner is the side that remembers (a user), the others are what it has rated or been rated by (items). Both are
indexed from 1; 0 is unknown, remembers nothing, and is never remembered.

Shape legend: B pairs, O owners + 1, P others + 1, V = 6 P pairs of another and a rating id, M memory units.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.batch import NUM_RATING_IDS
from recstack.models.layers import embedding

STATS = 2
"""Numbers beside the units: how far above the others' means the owner's ratings are, and how many they are."""
PRIOR_ROWS = 4.0
"""Rows at no deviation that are added to an owner's own, and rows at the overall mean to the others'."""


@dataclass(frozen=True, slots=True)
class RatingEdges:
    """All training ratings as two lists: each owner's ratings, and the owners that gave each rating.

    values and owners are the concatenated lists, *_starts where each list begins; values are other * 6 + rating id.
    """

    values: Tensor
    value_starts_O: Tensor
    owners: Tensor
    owner_starts_V: Tensor

    @classmethod
    def of(cls, owners: Tensor, others: Tensor, rating_ids: Tensor, num_owners: int, num_others: int) -> "RatingEdges":
        """Edges of the rows (owners[n], others[n], rating_ids[n]), all int64."""
        values = others * NUM_RATING_IDS + rating_ids
        by_owner, by_value = owners.argsort(stable=True), values.argsort(stable=True)
        return cls(
            values=values[by_owner],
            value_starts_O=_starts(owners, num_owners + 1),
            owners=owners[by_value],
            owner_starts_V=_starts(values, (num_others + 1) * NUM_RATING_IDS),
        )


class TrainingMemory(nn.Module):
    """Sums over an owner's training ratings: M units and STATS numbers per owner.

    `learn_from` names the rows. In training mode the sums follow the weights, with gradients; in evaluation mode they
    are what `refresh` computed last, saved and served with the model.
    """

    def __init__(self, num_owners: int, num_others: int, dim: int) -> None:
        super().__init__()
        self.signed = embedding(num_others + 1, dim)
        self.plain = embedding(num_others + 1, dim)
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("centre_P", torch.zeros(num_others + 1))
        self.register_buffer("count_O", torch.zeros(num_owners + 1))
        self.register_buffer("surplus_O", torch.zeros(num_owners + 1))
        self.register_buffer("total_OM", torch.zeros(num_owners + 1, dim))
        self.centre_P: Tensor
        self.count_O: Tensor
        self.surplus_O: Tensor
        self.total_OM: Tensor
        self._edges: RatingEdges | None = None

    def learn_from(self, owners: Tensor, others: Tensor, rating_ids: Tensor) -> None:
        """Remember these rows (int64, one each) and no others. Residuals are against the other side's mean rating."""
        num_owners, num_others = len(self.count_O) - 1, len(self.centre_P) - 1
        self._edges = RatingEdges.of(owners, others, rating_ids, num_owners, num_others)
        ratings = rating_ids.float()
        counts_P = torch.bincount(others, minlength=num_others + 1)
        total_P = _sums(others, ratings, num_others + 1) + PRIOR_ROWS * ratings.mean()
        self.centre_P = total_P / (counts_P + PRIOR_ROWS)
        self.count_O = torch.bincount(owners, minlength=num_owners + 1).float()
        self.surplus_O = _sums(owners, ratings - self.centre_P[others], num_owners + 1)

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute the sums that are saved and served."""
        self.total_OM = self._totals()

    def recall(self, owners_B: Tensor) -> Tensor:
        """Units and stats of owners, [B, M + STATS]."""
        total_OM = self._totals() if self.training else self.total_OM
        count_B = self.count_O[owners_B]
        scaled_BM = total_OM[owners_B] / (count_B + PRIOR_ROWS).sqrt().unsqueeze(1)
        stats_B2 = torch.stack([self.surplus_O[owners_B] / (count_B + PRIOR_ROWS), torch.log1p(count_B) / 4.0], dim=1)
        return torch.cat([torch.tanh(scaled_BM + self.bias), stats_B2], dim=1)

    def _totals(self) -> Tensor:
        if self._edges is None:
            return self.total_OM
        residual_PR = torch.arange(NUM_RATING_IDS, device=self.centre_P.device) - self.centre_P.unsqueeze(1)
        values_PRM = self.signed.weight.unsqueeze(1) * residual_PR.unsqueeze(2) + self.plain.weight.unsqueeze(1)
        totals_OM: Tensor = _BagSums.apply(values_PRM.flatten(0, 1), self._edges)  # type: ignore[no-untyped-call]
        return totals_OM


class _BagSums(torch.autograd.Function):
    """Sum of each owner's values. Its gradient is the sum over each value's owners: the same operation, transposed."""

    @staticmethod
    def forward(ctx: Any, values_VM: Tensor, edges: RatingEdges) -> Tensor:
        ctx.edges = edges
        return functional.embedding_bag(edges.values, values_VM, edges.value_starts_O, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad_OM: Tensor) -> tuple[Tensor, None]:
        edges: RatingEdges = ctx.edges
        return functional.embedding_bag(edges.owners, grad_OM.contiguous(), edges.owner_starts_V, mode="sum"), None


def _starts(ids: Tensor, size: int) -> Tensor:
    """Where each id's rows begin once rows are sorted by id."""
    counts = torch.bincount(ids, minlength=size)
    return counts.cumsum(0) - counts


def _sums(ids: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.zeros(size, device=values.device).index_add_(0, ids, values)
