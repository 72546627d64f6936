"""A two-tower model as a ranker: what recall thinks of a candidate, as one voice of a blend.

Recall orders the catalogue by what users come to like; rankers that learn from ratings know only what was watched, so
a ranking that forgot recall's opinion would put the obscure above the likely.

Shape legend: B users, N candidates, I items, D vector, W tower width.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.ranker import DotProductServed, Ranker, Served
from recstack.models.two_tower import TwoTower, TwoTowerConfig


@dataclass(frozen=True, slots=True)
class TowerState:
    """users_B1D: vectors of the users with their whole history. batch and history_items_IW: to encode parts of it."""

    users_B1D: Tensor
    batch: UserBatch
    history_items_IW: Tensor


class TwoTowerRanker(Ranker):
    """Scores are softmax logits: the dot product of user and item vector over the temperature."""

    config: TwoTowerConfig

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.two_tower = TwoTower(config)

    @classmethod
    def of(cls, model: TwoTower) -> "TwoTowerRanker":
        """`model` as a ranker; the weights are shared."""
        ranker = cls(model.config)
        ranker.two_tower = model
        return ranker.eval()

    def encode_items(self, table: ItemTable) -> Tensor:
        """[I+1, D + W]: an item as a candidate, divided by the temperature, and as a step of a history."""
        candidates_ID = self.two_tower.encode_items(table) / self.two_tower.temperature
        return torch.cat([candidates_ID, self.two_tower.history_items(table)], dim=1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> TowerState:
        """User vectors from profile and history."""
        history_items_IW = item_vectors_IE[:, self.config.vector_dim :]
        users_BD = self.two_tower.encode_users_from(batch, history_items_IW)
        return TowerState(users_BD.unsqueeze(1), batch, history_items_IW)

    def served(self, item_vectors_IE: Tensor) -> Served:
        """See Ranker."""
        candidates_ID, history_items_IW = torch.split(
            item_vectors_IE, [self.config.vector_dim, item_vectors_IE.shape[1] - self.config.vector_dim], dim=1
        )
        return DotProductServed(partial(self._encode_served, history_items_IW.contiguous()), candidates_ID)

    def _encode_served(self, history_items_IW: Tensor, users: UserBatch) -> Tensor:
        return self.two_tower.encode_users_from(users, history_items_IW)

    def score(self, state: TowerState, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N]: logits of a softmax over the catalogue, not of a probability."""
        users_BND = state.users_B1D
        if visible_BN is not None:
            users_BND = self.two_tower.encode_prefixes_from(state.batch, state.history_items_IW, visible_BN)
        scores_BN: Tensor = (users_BND * candidates_BNE[..., : self.config.vector_dim]).sum(2)
        return scores_BN
