"""What is in demand, for everybody: an item's score from its events and likes at several half-lives.

Counts with long and short half-lives side by side (`recstack.features.demand`) tell what is popular from what is
becoming popular. The score knows nothing of the user; in a blend it is what the personal rankers do not see, as they
were trained before the latest events.

Shape legend: B users, N candidates, I items, F demand features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable
from recstack.features.demand import DEMAND_FEATURES
from recstack.models.config_checks import check_positive
from recstack.models.ranker import Ranker


@dataclass(frozen=True, kw_only=True, slots=True)
class TrendConfig:
    """max_history is 0: the history is not read."""

    num_items: int
    max_history: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "num_items")


class Trend(Ranker):
    """One score per item, the same for all users: a weighted sum of `demand`'s features, taken when published."""

    config: TrendConfig

    def __init__(self, config: TrendConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("weights", torch.zeros(len(DEMAND_FEATURES)))
        self.register_buffer("scores", torch.zeros(config.num_items + 1))

    def observe(self, demand_IF: NDArray[np.float32], weights_F: NDArray[np.float32], intercept: float) -> None:
        """Take over an instant's demand. The unknown item gets the score of an item without any events."""
        self.get_buffer("weights").copy_(torch.from_numpy(weights_F))
        self.get_buffer("scores")[0] = intercept
        self.get_buffer("scores")[1:] = torch.from_numpy(demand_IF) @ self.get_buffer("weights") + intercept

    def encode_items(self, table: ItemTable) -> Tensor:
        """[I+1, 1]: the scores."""
        return self.get_buffer("scores").unsqueeze(1)

    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> None:
        """Nothing depends on the user."""

    def score(self, state: None, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N]."""
        return candidates_BNE.squeeze(2)
