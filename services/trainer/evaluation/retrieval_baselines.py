"""Protocol T1's baselines: popularity, item-kNN, matrix factorization and EASE, with settings chosen on validation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.data.dataset import Dataset, Events
from recstack.data.splits import RowSplit
from recstack.evaluation.item_knn import ItemKNN
from recstack.evaluation.linear_autoencoder import LinearAutoencoder
from recstack.evaluation.matrix_factorization import ImplicitALS
from recstack.evaluation.popularity import Popularity, decayed_popularity
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.features.schema import LIKED_FROM

HALF_LIVES_DAYS = (None, 60.0, 14.0, 5.0)
KNN_SETTINGS = ((100, 0.0), (500, 20.0), (4000, 20.0))
ALS_SETTINGS = ((16, 2.0), (32, 2.0), (32, 0.5))
EASE_SETTINGS = (500.0, 2000.0, 5000.0)
"""What is chosen from: half-life; neighbours and shrink; factors and confidence; regularisation."""


class Scorer(Protocol):
    """Anything that scores the catalogue for cases."""

    def scores(self, cases: RetrievalCases) -> NDArray[np.float32]:
        """[Q, I] scores of every item for every case; higher is better."""
        ...


ScorerT = TypeVar("ScorerT", bound=Scorer)


@dataclass(frozen=True, slots=True)
class Likes:
    """Likes of the training rows, as events and as a matrix [U, I] of 0 and 1."""

    events: Events
    matrix_UI: csr_matrix

    @classmethod
    def of(cls, dataset: Dataset, split: RowSplit) -> "Likes":
        """The likes that may be learnt from."""
        rows = split.train[dataset.events.rating[split.train] >= LIKED_FROM]
        likes = Events(*(getattr(dataset.events, name)[rows] for name in Events.__dataclass_fields__))
        shape = (len(dataset.users.ids), len(dataset.items.ids))
        matrix_UI = csr_matrix((np.ones(len(likes), np.float32), (likes.user, likes.item)), shape)
        matrix_UI.data[:] = 1.0
        return cls(likes, matrix_UI)


def popularity(likes: Likes, validation: RetrievalCases) -> tuple[Popularity, Any]:
    """Likes per item, older ones worth less; the model and the half-life chosen."""

    def make(half_life_days: float | None) -> Popularity:
        return Popularity(decayed_popularity(likes.events, likes.matrix_UI.shape[1], half_life_days))

    return _best(make, HALF_LIVES_DAYS, validation)


def item_knn(likes: Likes, validation: RetrievalCases) -> tuple[ItemKNN, Any]:
    """Item-to-item neighbours; the model and its setting."""
    fallback, _ = popularity(likes, validation)
    return _best(lambda setting: ItemKNN(likes.matrix_UI, fallback, *setting), KNN_SETTINGS, validation)


def matrix_factorization(likes: Likes, validation: RetrievalCases) -> tuple[ImplicitALS, Any]:
    """Implicit ALS; the model and its setting."""
    fallback, _ = popularity(likes, validation)
    return _best(lambda setting: ImplicitALS(likes.matrix_UI, fallback, *setting), ALS_SETTINGS, validation)


def ease(likes: Likes, validation: RetrievalCases) -> tuple[LinearAutoencoder, Any]:
    """EASE; the model and its regularisation."""
    fallback, _ = popularity(likes, validation)
    return _best(lambda setting: LinearAutoencoder(likes.matrix_UI, fallback, setting), EASE_SETTINGS, validation)


def _best(make: Callable[[Any], ScorerT], settings: tuple[Any, ...], validation: RetrievalCases) -> tuple[ScorerT, Any]:
    """The model with the highest recall@100 on validation, and its setting."""
    models = [(make(setting), setting) for setting in settings]

    def recall(choice: tuple[ScorerT, Any]) -> float:
        ranked_QK = rank_unseen(choice[0].scores(validation), validation.seen, 100)
        return retrieval_metrics(ranked_QK, validation.truth, recall_at=(100,))["recall@100"]

    return max(models, key=recall)


BASELINES: dict[str, Callable[[Likes, RetrievalCases], tuple[Scorer, Any]]] = {
    "popularity": popularity,
    "item-kNN": item_knn,
    "MF (ALS)": matrix_factorization,
    "EASE": ease,
}
