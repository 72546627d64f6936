"""The ranker of a whole funnel: what recall, the trained rankers, co-liked items and demand say of a candidate, weighed
for "what will the user come to like?" on the validation period; see `services.trainer.tasks.funnel_blend`."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recstack.data import Dataset, RowSplit
from recstack.evaluation.retrieval_metrics import retrieval_metrics
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.ranker import Prediction, Ranker
from recstack.models.retriever import Retriever
from recstack.models.two_tower import TwoTower
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.tasks.candidate_pool import Pool
from services.trainer.tasks.funnel_blend import fit_funnel_blend

POOL = 500
"""Candidates of recall that the weights are fitted on: as many as the gateway has ranked."""
TREND = "trend"


@dataclass(frozen=True, slots=True)
class FunnelRanker:
    """The rankers that have a say, and their weights, by name; figures on validation, which they were fitted on."""

    rankers: dict[str, Ranker]
    weights: dict[str, float]
    metrics: dict[str, float]


def fit_funnel_ranker(
    retriever: Retriever, rankers: Mapping[str, Ranker], dataset: Dataset, split: RowSplit
) -> FunnelRanker:
    """Weigh the voices on what validation's users came to like among the candidates that recall brings them.

    Models on the CPU. Rankers of ratings have no say. Of a fused retriever the two-tower brings the candidates: its
    trend knows the end of the data, validation included. The demand that is served is that of the end of the data:
    what is known when the bundle is published.
    """
    voices: dict[str, Ranker] = {name: one for name, one in rankers.items() if one.prediction is Prediction.LIKE}
    if isinstance(retriever, FusedRetriever):
        voices["ease"] = retriever.ease
        retriever = retriever.two_tower
    if isinstance(retriever, TwoTower):
        voices["two_tower"] = TwoTowerRanker.of(retriever)
    pool = Pool.recalled(retriever, dataset, split.validation, POOL)
    raw_QC, demand_QCF = pool.inputs(voices, dataset)
    blend = fit_funnel_blend(raw_QC, demand_QCF, pool.liked_QC)
    order_QC = (-blend.scores(raw_QC, demand_QCF)).argsort(axis=1, kind="stable")
    ranked = {"recall": pool.items_QC, "ranked": np.take_along_axis(pool.items_QC, order_QC, axis=1)}
    metrics = {
        f"choice/funnel_{name}_ndcg@20": retrieval_metrics(items, pool.cases.truth, top=20)["ndcg@20"]
        for name, items in ranked.items()
    }
    served = {name: voices[name] for name in blend.weights}
    return FunnelRanker(
        rankers=served | {TREND: blend.trend(dataset, len(dataset.events))},
        weights=dict(blend.weights) | {TREND: 1.0},
        metrics=metrics,
    )
