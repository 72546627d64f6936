"""Fitting of the fused retriever: what two-tower, EASE and demand count, from what users came to like."""

import torch

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.two_tower import TwoTower
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.items import item_table
from services.trainer.tasks.ease import train_ease
from services.trainer.tasks.funnel_blend import Voice, demand_after, fit_funnel_blend, raw_scores
from services.trainer.tasks.two_tower_scores import two_tower_scores

MOST_CANDIDATES = 2_000
"""Items per case that the weights are fitted on, the two-tower's best: half the catalogue where it is smaller."""


def fuse(two_tower: TwoTower, dataset: Dataset, split: RowSplit, known: int | None = None) -> FusedRetriever:
    """Join a trained two-tower with EASE of the same training period and with demand.

    Weights are fitted on the validation period of `split`, a temporal one. known: how many events have happened when
    the retriever begins to serve; all of the dataset when left out.
    """
    first, last = int(split.validation[0]), int(split.validation[-1])
    sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
    cases = RetrievalCases.build(dataset, sequences, slice(first, last + 1))
    table = item_table(dataset).to(next(two_tower.parameters()).device)
    depth = min(MOST_CANDIDATES, len(dataset.items.ids) // 2)
    items_QC = rank_unseen(two_tower_scores(two_tower, table, cases), cases.seen, depth)
    rankers = {"two_tower": TwoTowerRanker.of(two_tower), "ease": train_ease(dataset, split)}
    with torch.inference_mode():
        voices = {name: Voice(ranker, ranker.encode_items(table)) for name, ranker in rankers.items()}
    blend = fit_funnel_blend(
        {name: raw_scores(voice, cases, items_QC) for name, voice in voices.items()},
        demand_after(dataset, first)[items_QC],
        cases.liked_of(items_QC),
    )
    trend = blend.trend(dataset, len(dataset.events) if known is None else known)
    return FusedRetriever.of(two_tower, rankers["ease"], trend, blend.weights)
