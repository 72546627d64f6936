"""Three voices of recall in one vector: the two-tower, EASE and demand, so that one index serves their weighted sum.

A dot product of joined vectors is the sum of the dot products of their parts. An item's vector is
[w1 x two-tower item, w2 x EASE's "asked for", trend], a user's [two-tower user, sum of EASE's "liked", 1]; the weights
are fitted on what users came to like in the validation period (`services.trainer.tasks.fused`).

Shape legend: B users, L history steps, P prefixes, I items, D joined vector, W what the user side reads of an item,
R rank of EASE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.models.ease import EASE, EASEConfig
from recstack.models.layers import take_steps
from recstack.models.retriever import Retriever, is_one_history
from recstack.models.trend import Trend, TrendConfig
from recstack.models.two_tower import TwoTower, TwoTowerConfig


@dataclass(frozen=True, kw_only=True)
class FusedConfig:
    """The parts' configs (or their fields, as they come from a file), and what the first two count."""

    two_tower: TwoTowerConfig | Mapping[str, Any]
    ease: EASEConfig | Mapping[str, Any]
    two_tower_weight: float
    ease_weight: float

    @property
    def tower(self) -> TwoTowerConfig:
        """The two-tower's config."""
        return self.two_tower if isinstance(self.two_tower, TwoTowerConfig) else TwoTowerConfig(**self.two_tower)

    @property
    def likes(self) -> EASEConfig:
        """EASE's config."""
        return self.ease if isinstance(self.ease, EASEConfig) else EASEConfig(**self.ease)

    @property
    def num_items(self) -> int:
        """I, the same in all parts."""
        return self.tower.num_items

    @property
    def vector_dim(self) -> int:
        """D: the parts' widths and one for the trend."""
        return self.tower.vector_dim + self.likes.rank + 1

    @property
    def max_history(self) -> int:
        """The most recent events that are read."""
        return self.tower.max_history


class FusedRetriever(Retriever):
    """Two-tower, EASE and trend as one retriever; its dot products are logits that count what users came to like."""

    config: FusedConfig

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.config = config
        self.two_tower = TwoTower(config.tower)
        self.ease = EASE(config.likes)
        self.trend = Trend(TrendConfig(num_items=config.num_items))

    @classmethod
    def of(cls, two_tower: TwoTower, ease: EASE, trend: Trend, weights: Mapping[str, float]) -> "FusedRetriever":
        """Join trained parts, whose weights are shared. weights: of "two_tower" and "ease"; a missing one is 0."""
        config = FusedConfig(
            two_tower=two_tower.config,
            ease=ease.config,
            two_tower_weight=weights.get("two_tower", 0.0),
            ease_weight=weights.get("ease", 0.0),
        )
        fused = cls(config)
        fused.two_tower, fused.ease, fused.trend = two_tower, ease, trend
        return fused.eval()

    def encode_items(self, table: ItemTable) -> Tensor:
        """[I+1, D] weighted item sides of the three parts."""
        tower_ID = self.two_tower.encode_items(table) / self.two_tower.temperature
        asked_IR = self.ease.encode_items(table)[:, self.config.likes.rank :]
        parts = [self.config.two_tower_weight * tower_ID, self.config.ease_weight * asked_IR]
        return torch.cat([*parts, self.trend.encode_items(table)], dim=1)

    def similar_items(self, table: ItemTable, known_I: Tensor) -> Tensor:
        """[I+1, S] the two-tower's vectors: two items are not alike because both are in demand."""
        return self.two_tower.similar_items(table, known_I)

    def history_items(self, table: ItemTable) -> Tensor:
        """[I+1, W] what the two-tower's user side and EASE's "liked" read of each item."""
        return torch.cat([self.two_tower.history_items(table), self.ease.item_embeddings], dim=1)

    def encode_prefixes_from(self, batch: UserBatch, history_items_IW: Tensor, visible_BP: Tensor) -> Tensor:
        """[B, P, D] user sides: two-tower user, the sum of what was liked, and 1 for the trend."""
        width = self.config.tower.width
        tower_BPD = self.two_tower.encode_prefixes_from(batch, history_items_IW[:, :width], visible_BP)
        likes_BPR = take_steps(self.ease.encode_users(batch, history_items_IW[:, width:]), visible_BP)
        return functional.pad(torch.cat([tower_BPD, likes_BPR], dim=2), (0, 1), value=1.0)

    def encode_users_from(self, batch: UserBatch, history_items_IW: Tensor) -> Tensor:
        """[B, D] user sides from whole histories; of one user, each item is read once for both parts."""
        if self.training or not is_one_history(batch):
            return super().encode_users_from(batch, history_items_IW)
        items_LW, width = functional.embedding(batch.items_BL[0], history_items_IW), self.config.tower.width
        tower_1D = self.two_tower.encode_one(batch, items_LW[:, :width])
        likes_1R = self.ease.sum_liked(batch, items_LW[None, :, width:])
        return functional.pad(torch.cat([tower_1D, likes_1R], dim=1), (0, 1), value=1.0)
