"""EASE: how much a user's likes speak for each item, by item-to-item weights that are learnt in closed form.

Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019, equation 8: with P = (X'X + lambda I)^-1 over the
matrix X of likes, the weight of item i for item j is -P_ij / P_jj, and 0 for i = j. The weights are kept at low rank,
so that an item is two short vectors, one for "was liked" and one for "is asked for", and no I x I matrix is served.

Shape legend: B users, L history steps, N candidates, I items, R rank.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recstack.errors import InvalidRequestError
from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.schema import LIKED_FROM
from recstack.models.config_checks import check_positive
from recstack.models.layers import take_steps
from recstack.models.ranker import DotProductServed, Ranker, Served

if TYPE_CHECKING:  # what serves needs no SciPy
    from scipy.sparse import csr_matrix

MAX_ITEMS = 20_000
"""The closed form inverts an I x I matrix of doubles: 3.2 GB and minutes at this size, and cubic beyond."""

SVD_PASSES = 3
SPARE_RANK = 16


def item_weights(likes_UI: "csr_matrix", regularisation: float) -> Tensor:
    """[I, I] float32: what having liked item i says for item j, from likes, 0 or 1 (Steck, 2019, equation 8).

    Raises InvalidRequestError for more than MAX_ITEMS items.
    """
    items = likes_UI.shape[1]
    if items > MAX_ITEMS:
        raise InvalidRequestError(
            f"EASE inverts a matrix of items x items; got {items:,} items, at most {MAX_ITEMS:,} are sensible. "
            "Leave EASE out for this catalogue"
        )
    gram_II = (likes_UI.T @ likes_UI).toarray().astype(np.float64)
    gram_II[np.diag_indices(items)] += regularisation
    inverse_II = torch.linalg.inv(torch.from_numpy(gram_II))
    weights_II: Tensor = -inverse_II / inverse_II.diagonal()
    return weights_II.fill_diagonal_(0.0).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class EASEConfig:
    """rank: R. max_history: the most recent events that are read."""

    num_items: int
    rank: int = 64
    max_history: int = 200

    def __post_init__(self) -> None:
        check_positive(self, "num_items", "rank", "max_history")


class EASE(Ranker):
    """Item-to-item weights as a ranker (Steck, 2019). An event without a rating counts as a like."""

    config: EASEConfig

    def __init__(self, config: EASEConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("liked_vectors", torch.zeros(config.num_items + 1, config.rank))
        self.register_buffer("asked_vectors", torch.zeros(config.num_items + 1, config.rank))

    @property
    def item_embeddings(self) -> Tensor:
        """[I+1, R]: what having liked each item says."""
        return self.get_buffer("liked_vectors")

    def learn(self, likes_UI: "csr_matrix", regularisation: float) -> None:
        """Compute the weights from likes, 0 or 1, [U, I]. regularisation: lambda; a few hundred for MovieLens-1M.

        Raises InvalidRequestError for more than MAX_ITEMS items.
        """
        weights_II = item_weights(likes_UI, regularisation)
        items = len(weights_II)
        rank = min(self.config.rank, items)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the method draws a random start; the outcome hardly depends on it
            left_IR, strength_R, right_IR = torch.svd_lowrank(weights_II, min(rank + SPARE_RANK, items), SVD_PASSES)
        root_R = strength_R[:rank].sqrt()
        self.get_buffer("liked_vectors")[1:, :rank] = left_IR[:, :rank] * root_R
        self.get_buffer("asked_vectors")[1:, :rank] = right_IR[:, :rank] * root_R

    def encode_items(self, table: ItemTable) -> Tensor:
        """[I+1, 2R]: both vectors of each item; the unknown item's are zero."""
        return torch.cat([self.get_buffer("liked_vectors"), self.get_buffer("asked_vectors")], dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> Tensor:
        """[B, L+1, R]: the sum of what was liked among the first 0, 1, ... L steps."""
        vectors_BLR = item_vectors_IE[batch.items_BL][..., : self.config.rank] * _liked(batch).unsqueeze(2)
        return functional.pad(vectors_BLR.cumsum(1), (0, 0, 1, 0))

    def sum_liked(self, batch: UserBatch, liked_vectors_BLR: Tensor) -> Tensor:
        """[B, R]: the last of `encode_users`, given what each step's item says. Padding says nothing: it is item 0."""
        return (_liked(batch).unsqueeze(1).to(liked_vectors_BLR.dtype) @ liked_vectors_BLR).squeeze(1)

    def served(self, item_vectors_IE: Tensor) -> Served:
        """See Ranker."""
        liked_IR, asked_IR = torch.split(item_vectors_IE, self.config.rank, dim=1)
        return DotProductServed(partial(self._encode_served, liked_IR.contiguous()), asked_IR)

    def _encode_served(self, liked_IR: Tensor, users: UserBatch) -> Tensor:
        return self.sum_liked(users, functional.embedding(users.items_BL, liked_IR))

    def score(self, state: Tensor, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N]: the sum of the weights of what was liked; about 0..1, 0 without a history."""
        likes_BNR = state[:, -1:] if visible_BN is None else take_steps(state, visible_BN)
        scores_BN: Tensor = (likes_BNR * candidates_BNE[..., self.config.rank :]).sum(2)
        return scores_BN


def _liked(batch: UserBatch) -> Tensor:
    return (batch.ratings_BL == 0) | (batch.ratings_BL >= LIKED_FROM)
