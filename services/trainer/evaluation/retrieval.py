"""Retrieval beside its baselines, protocol T1: users who liked something after the cut, all unseen items ranked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.data.splits import TemporalSplit
from recstack.evaluation.item_knn import ItemKNN
from recstack.evaluation.matrix_factorization import ImplicitALS
from recstack.evaluation.popularity import Popularity, decayed_popularity
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.features.schema import LIKED_FROM
from recstack.models.two_tower import TwoTower
from services.trainer.items import item_table
from services.trainer.tasks.two_tower import two_tower_scores

Scores = Callable[[RetrievalCases], NDArray[np.float32]]
BaselineT = TypeVar("BaselineT", Popularity, ItemKNN, ImplicitALS)
RANKS = 500

HALF_LIVES_DAYS = (None, 60.0, 14.0, 5.0)
KNN_SETTINGS = ((100, 0.0), (500, 20.0), (4000, 20.0))
ALS_SETTINGS = ((16, 2.0), (32, 2.0), (32, 0.5))
"""What the baselines choose from on validation: half-life; neighbours and shrink; factors and confidence."""


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """One model's figures. Warm users have a history, cold ones none; nan where there are none of a kind."""

    name: str
    recall_at_20: float
    recall_at_100: float
    recall_at_500: float
    ndcg_at_20: float
    coverage_at_20: float
    recall_at_100_warm: float
    recall_at_100_cold: float


def evaluate_retrieval(model: TwoTower, dataset: Dataset, split: TemporalSplit, seed: int = 0) -> list[RetrievalRow]:
    """Figures of the test period for `model` and for the baselines.

    The baselines learn from the same training period as the model, are tuned on the validation period, and see the
    same history of a user. Test is read once.
    """
    sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
    validation = RetrievalCases.build(dataset, sequences, split.validation)
    test = RetrievalCases.build(dataset, sequences, split.test)
    table = item_table(dataset).to(model.log_temperature.device)
    models: dict[str, Scores] = {
        "two-tower": lambda cases: two_tower_scores(model, table, cases),
        **retrieval_baselines(dataset, split, validation, seed),
    }
    return [_row(name, rank_unseen(scores(test), test.seen, RANKS), test) for name, scores in models.items()]


def retrieval_baselines(
    dataset: Dataset, split: TemporalSplit, validation: RetrievalCases, seed: int = 0
) -> dict[str, Scores]:
    """Popularity, item-kNN and matrix factorization, each with the settings that are best on `validation`."""
    train, num_users, num_items = split.train, len(dataset.users.ids), len(dataset.items.ids)
    liked = np.flatnonzero(dataset.events.rating[train] >= LIKED_FROM)
    likes = Events(*(getattr(dataset.events, name)[train][liked] for name in Events.__dataclass_fields__))
    popularity = _best([Popularity(decayed_popularity(likes, num_items, days)) for days in HALF_LIVES_DAYS], validation)
    likes_UI = csr_matrix((np.ones(len(likes), np.float32), (likes.user, likes.item)), (num_users, num_items))
    likes_UI.data[:] = 1.0
    knn = _best([ItemKNN(likes_UI, popularity, *setting) for setting in KNN_SETTINGS], validation)
    als = _best([ImplicitALS(likes_UI, popularity, *setting, seed=seed) for setting in ALS_SETTINGS], validation)
    return {"popularity": popularity.scores, "item-kNN": knn.scores, "MF": als.scores}


def _best(models: list[BaselineT], validation: RetrievalCases) -> BaselineT:
    def recall(model: BaselineT) -> float:
        ranked_QK = rank_unseen(model.scores(validation), validation.seen, 100)
        return retrieval_metrics(ranked_QK, validation.truth, recall_at=(100,))["recall@100"]

    return max(models, key=recall)


def _row(name: str, ranked_QK: NDArray[np.int64], cases: RetrievalCases) -> RetrievalRow:
    metrics = retrieval_metrics(ranked_QK, cases.truth)

    def recall_of(chosen: NDArray[np.bool_]) -> float:
        if not chosen.any():
            return float("nan")
        return retrieval_metrics(ranked_QK[chosen], cases.truth[chosen], recall_at=(100,))["recall@100"]

    return RetrievalRow(
        name=name,
        recall_at_20=metrics["recall@20"],
        recall_at_100=metrics["recall@100"],
        recall_at_500=metrics["recall@500"],
        ndcg_at_20=metrics["ndcg@20"],
        coverage_at_20=metrics["coverage@20"],
        recall_at_100_warm=recall_of(cases.warm),
        recall_at_100_cold=recall_of(~cases.warm),
    )
