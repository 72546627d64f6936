"""Fitting of the fused retriever: what two-tower, EASE and demand count, from what users came to like."""

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.two_tower import TwoTower
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.tasks.candidate_pool import Pool
from services.trainer.tasks.ease import train_ease

MOST_CANDIDATES = 2_000
"""Items per case that the weights are fitted on, the two-tower's best: half the catalogue where it is smaller."""


def fuse(two_tower: TwoTower, dataset: Dataset, split: RowSplit, known: int | None = None) -> FusedRetriever:
    """Join a trained two-tower with EASE of the same training period and with demand.

    Weights are fitted on the validation period of `split`, a temporal one. known: how many events have happened when
    the retriever begins to serve; all of the dataset when left out.
    """
    ease = train_ease(dataset, split)
    rankers = {"two_tower": TwoTowerRanker.of(two_tower), "ease": ease}
    depth = min(MOST_CANDIDATES, len(dataset.items.ids) // 2)
    blend = Pool.recalled(two_tower, dataset, split.validation, depth).fit(rankers, dataset)
    trend = blend.trend(dataset, len(dataset.events) if known is None else known)
    return FusedRetriever.of(two_tower, ease, trend, blend.weights)
