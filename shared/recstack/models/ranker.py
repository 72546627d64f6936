"""What every model that scores candidates has in common, so that the ranking service serves any of them.

Work is split by what it depends on: items once per bundle, users once per request, pairs last.

Shape legend: B users, N candidates, I items, E item vector.
"""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from recstack.features.batch import UserBatch
from recstack.features.catalogue import ItemTable

MIN_RATING, MAX_RATING = 1.0, 5.0


class Prediction(StrEnum):
    """What a ranker predicts."""

    LIKE = "like"
    """The probability, 0..1, that the user likes the item."""
    RATING = "rating"
    """The rating, 1..5, that the user would give the item."""


class Ranker(nn.Module, ABC):
    """A model that scores candidates for users.

    config: a frozen dataclass with `num_items` and `max_history` (0 where the history is not read), saved with the
    weights. prediction: what `predict` returns.
    """

    config: Any
    prediction: Prediction = Prediction.LIKE

    @abstractmethod
    def encode_items(self, table: ItemTable) -> Tensor:
        """Item vectors [I+1, E], all that scoring needs of the items; row 0 is the unknown item."""

    @abstractmethod
    def encode_users(self, batch: UserBatch, item_vectors_IE: Tensor) -> Any:
        """All that scoring needs of the users and that does not depend on candidates."""

    @abstractmethod
    def score(self, state: Any, candidates_BNE: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """Raw scores [B, N]: logits where `prediction` is LIKE, ratings where it is RATING.

        candidates_BNE are rows of `encode_items`. visible_BN (int64, up to the history's length) shows a candidate
        only the first steps of the history; by default it sees all. Models that read no history ignore it.
        """

    def predict(self, scores_BN: Tensor) -> Tensor:
        """Raw scores as what the model predicts: probabilities, or ratings clipped to 1..5."""
        if self.prediction is Prediction.LIKE:
            return torch.sigmoid(scores_BN)
        return scores_BN.clamp(MIN_RATING, MAX_RATING)
