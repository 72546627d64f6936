"""Protocol F1: recall, rank and select together, with recall's ceiling and ranking's lift apart.

Users, truth and periods are T1's. Recall brings the two-tower's first POOL unseen items; an entrant orders them; its
first 20 count. The ceiling is what a perfect order of the pool would find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.models.ranker import Ranker
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.retrieval import SPLIT, cases_of
from services.trainer.evaluation.trainers import preset_content
from services.trainer.items import item_table
from services.trainer.tasks.ease import train_ease
from services.trainer.tasks.funnel_blend import Voice, demand_after, fit_funnel_blend, raw_scores
from services.trainer.tasks.two_tower_scores import two_tower_scores

POOL = 500
TOP = 20
RECALL = "two_tower"


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates of T1's cases in a period, in recall's order: items_QC: rows of Items. known: events
    that have happened when the period begins."""

    cases: RetrievalCases
    items_QC: NDArray[np.int64]
    known: int


def recall_order(preset: str) -> Entrant:
    """The pool as recall orders it."""
    return Entrant(
        name="recall's order",
        kind=Kind.BASELINE,
        settings={RECALL: preset_content(RECALL, preset)},
        measure=partial(_measure_recall, preset),
    )


def ranker_alone(model: str, preset: str) -> Entrant:
    """The pool as one ranker orders it."""
    return Entrant(
        name=f"{model}:{preset} alone",
        kind=Kind.OURS,
        settings={name: preset_content(name, of) for name, of in ((RECALL, "full"), (model, preset))},
        measure=partial(_measure_alone, model, preset),
    )


def funnel(*rankers: str) -> Entrant:
    """The pool as the blend of recall, rankers ("model:preset"), EASE and demand orders it; fitted on validation."""
    models = [name.split(":") for name in rankers]
    return Entrant(
        name=f"blend of {', '.join(model for model, _ in models)}",
        kind=Kind.OURS,
        settings={name: preset_content(name, preset) for name, preset in [(RECALL, "full"), *models]},
        measure=partial(_measure_blend, tuple(rankers)),
    )


def funnel_metrics(scores_QC: NDArray[np.floating], pool: Pool) -> dict[str, float]:
    """Figures of an order of the pool, with the ceiling and the lift over recall's order."""
    order_QC = np.argsort(-scores_QC, axis=1, kind="stable")
    ranked_QC = np.take_along_axis(pool.items_QC, order_QC, axis=1)
    figures = retrieval_metrics(ranked_QC, pool.cases.truth, recall_at=(TOP, POOL), top=TOP)
    by_recall = retrieval_metrics(pool.items_QC, pool.cases.truth, recall_at=(TOP,), top=TOP)
    return {
        **{name: figures[name] for name in (f"recall@{TOP}", f"ndcg@{TOP}", f"coverage@{TOP}")},
        "ceiling": figures[f"recall@{POOL}"],
        "lift": figures[f"ndcg@{TOP}"] / by_recall[f"ndcg@{TOP}"],
    }


def _measure_recall(preset: str, bench: Bench, seed: int) -> Measurement:
    pool = _pool(bench, seed, "test", preset)
    return Measurement(metrics=funnel_metrics(-np.arange(POOL) * np.ones((len(pool.cases), 1)), pool))


def _measure_alone(model: str, preset: str, bench: Bench, seed: int) -> Measurement:
    pool = _pool(bench, seed, "test")
    ranker = bench.train(model, preset, SPLIT, seed).model
    return Measurement(metrics=funnel_metrics(raw_scores(_voice(ranker, bench), pool.cases, pool.items_QC), pool))


def _measure_blend(rankers: Sequence[str], bench: Bench, seed: int) -> Measurement:
    voices = {RECALL: _voice(TwoTowerRanker.of(bench.train(RECALL, "full", SPLIT, seed).model), bench)}
    for name in rankers:
        model, preset = name.split(":")
        voices[model] = _voice(bench.train(model, preset, SPLIT, seed).model, bench)
    voices["ease"] = _voice(train_ease(bench.dataset, bench.split(SPLIT)), bench)

    def inputs(pool: Pool) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        raw_QC = {name: raw_scores(voice, pool.cases, pool.items_QC) for name, voice in voices.items()}
        return raw_QC, demand_after(bench.dataset, pool.known)[pool.items_QC]

    validation = _pool(bench, seed, "validation")
    blend = fit_funnel_blend(*inputs(validation), validation.cases.liked_of(validation.items_QC))
    test = _pool(bench, seed, "test")
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in blend.weights.items())
    return Measurement(metrics=funnel_metrics(blend.scores(*inputs(test)), test), note=f"weights: {weights}")


def _pool(bench: Bench, seed: int, part: str, preset: str = "full") -> Pool:
    cases = cases_of(bench, part)
    model = bench.train(RECALL, preset, SPLIT, seed).model
    table = item_table(bench.dataset).to(next(model.parameters()).device)
    items_QC = rank_unseen(two_tower_scores(model, table, cases), cases.seen, POOL)
    return Pool(cases, items_QC, int(getattr(bench.split(SPLIT), part)[0]))


@torch.inference_mode()
def _voice(ranker: Ranker, bench: Bench) -> Voice:
    return Voice(ranker.eval(), ranker.encode_items(item_table(bench.dataset)))
