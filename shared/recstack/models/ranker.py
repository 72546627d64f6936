"""What every model that scores candidates has in common, so that the ranking service serves any of them.

Work is split by what it depends on: items once per bundle, users once per request, pairs last.

Shape legend: B users, N candidates, I items, E item vector.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
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

    def of(self, scores: Tensor) -> Tensor:
        """Raw scores as predictions: logits as probabilities, ratings clipped to 1..5."""
        return torch.sigmoid(scores) if self is Prediction.LIKE else scores.clamp(MIN_RATING, MAX_RATING)


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

    def served(self, item_vectors_IE: Tensor) -> "Served":
        """The model laid out for serving with these vectors of `encode_items`; its weights must not change after."""
        return PlainServed(self, item_vectors_IE)

    def predict(self, scores_BN: Tensor) -> Tensor:
        """Raw scores as what the model predicts: probabilities, or ratings clipped to 1..5."""
        return self.prediction.of(scores_BN)


class Served(ABC):
    """A ranker in eval mode, laid out for serving: what depends on an item alone is computed once, when it is made.

    Gives the raw scores of `Ranker.score` with the whole history visible, to float rounding. Nothing is changed after
    construction, so threads may share it. Both methods are called without gradients. It keeps of the model and the item
    vectors what it reads; the rest is free to go.
    """

    @abstractmethod
    def encode(self, users: UserBatch) -> Any:
        """All that scoring needs of the users: tensors whose first axis is the user, in tuples or dataclasses."""

    @abstractmethod
    def score(self, state: Any, candidates_BN: Tensor) -> Tensor:
        """Raw scores [B, N] of item indices (int64); `state` is that of these B users, see `users_of`."""


def users_of(state: Any, rows: slice) -> Any:
    """The part of a `Served.encode` result that belongs to some of its users."""
    if state is None or rows == slice(None):
        return state
    if isinstance(state, Tensor):
        return state[rows]
    if isinstance(state, tuple):
        return tuple(users_of(part, rows) for part in state)
    parts = {field.name: users_of(getattr(state, field.name), rows) for field in dataclasses.fields(state)}
    return dataclasses.replace(state, **parts)


class PlainServed(Served):
    """A ranker as it is: item vectors are kept, the rest is the model's own code."""

    def __init__(self, ranker: Ranker, item_vectors_IE: Tensor) -> None:
        self._ranker = ranker
        self._item_vectors_IE = item_vectors_IE

    def encode(self, users: UserBatch) -> Any:
        """See Served."""
        return self._ranker.encode_users(users, self._item_vectors_IE)

    def score(self, state: Any, candidates_BN: Tensor) -> Tensor:
        """See Served."""
        return self._ranker.score(state, nn.functional.embedding(candidates_BN, self._item_vectors_IE))


class DotProductServed(Served):
    """A ranker whose raw score is the dot product of a user vector and an item vector.

    encode: user vectors [B, D] of a batch. item_vectors_ID: what they are multiplied with.
    """

    def __init__(self, encode: Callable[[UserBatch], Tensor], item_vectors_ID: Tensor) -> None:
        self._encode = encode
        self._item_vectors_ID = item_vectors_ID.contiguous()

    def encode(self, users: UserBatch) -> Tensor:
        """User vectors [B, D]."""
        return self._encode(users)

    def score(self, state: Tensor, candidates_BN: Tensor) -> Tensor:
        """See Served."""
        candidates_BND = nn.functional.embedding(candidates_BN, self._item_vectors_ID)
        return (candidates_BND @ state.unsqueeze(2)).squeeze(2)
