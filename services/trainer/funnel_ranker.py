"""The ranker of a whole funnel: what recall, the trained rankers, co-liked items and demand say of a candidate, weighed
for "what will the user come to like?" on the validation period; see `services.trainer.tasks.funnel_blend`."""

from collections.abc import Mapping
from dataclasses import dataclass

from recstack.data import Dataset, RowSplit, UserSequences
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.models.fused_retriever import FusedRetriever
from recstack.models.ranker import Prediction, Ranker
from recstack.models.retriever import Retriever
from recstack.models.two_tower import TwoTower
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.item_vectors import item_vectors
from services.trainer.items import item_table
from services.trainer.tasks.funnel_blend import Voice, demand_after, fit_funnel_blend, raw_scores
from services.trainer.tasks.two_tower_scores import two_tower_scores

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
    sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
    first, last = int(split.validation[0]), int(split.validation[-1])
    cases = RetrievalCases.build(dataset, sequences, slice(first, last + 1))
    items_QC = rank_unseen(two_tower_scores(retriever, item_table(dataset), cases), cases.seen, POOL)
    raw_QC = {
        name: raw_scores(Voice(ranker, item_vectors(ranker, dataset)), cases, items_QC)
        for name, ranker in voices.items()
    }
    demand_QCF = demand_after(dataset, first)[items_QC]
    blend = fit_funnel_blend(raw_QC, demand_QCF, cases.liked_of(items_QC))
    order_QC = (-blend.scores(raw_QC, demand_QCF)).argsort(axis=1, kind="stable")
    ranked = {"recall": items_QC, "ranked": items_QC[[[row] for row in range(len(items_QC))], order_QC]}
    metrics = {
        f"choice/funnel_{name}_ndcg@20": retrieval_metrics(items, cases.truth, top=20)["ndcg@20"]
        for name, items in ranked.items()
    }
    served = {name: voices[name] for name in blend.weights}
    return FunnelRanker(
        rankers=served | {TREND: blend.trend(dataset, len(dataset.events))},
        weights=dict(blend.weights) | {TREND: 1.0},
        metrics=metrics,
    )
