"""Protocol F1: recall, rank and select together, with recall's ceiling and ranking's lift apart.

Users, truth and periods are T1's. Recall brings the two-tower's first POOL unseen items; an entrant orders them; its
first 20 count. The ceiling is what a perfect order of the pool would find.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recstack.diversity import genre_similarity, select_diverse
from recstack.evaluation.retrieval_metrics import retrieval_metrics
from recstack.models.ranker import Ranker
from recstack.models.two_tower_ranker import TwoTowerRanker
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.retrieval import SPLIT
from services.trainer.evaluation.trainers import preset_content
from services.trainer.tasks.candidate_pool import Pool
from services.trainer.tasks.ease import train_ease

POOL = 500
TOP = 20
SELECT_FROM = 60
"""What the gateway selects from for so many: see `services.gateway.selectors.genre_diversity`."""

RECALL = "two_tower"


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


def funnel(*rankers: str, diversity: float = 0.0) -> Entrant:
    """The pool as the blend of recall, rankers ("model:preset"), EASE and demand orders it; fitted on validation.

    diversity: above 0, the first 20 are selected as the gateway selects them, spreading genres.
    """
    models = [name.split(":") for name in rankers]
    return Entrant(
        name=f"blend of {', '.join(model for model, _ in models)}" + (", genres spread" if diversity else ""),
        kind=Kind.OURS,
        settings={name: preset_content(name, preset) for name, preset in [(RECALL, "full"), *models]}
        | ({"diversity": diversity} if diversity else {}),
        measure=partial(_measure_blend, tuple(rankers), diversity),
    )


def funnel_metrics(ranked_QC: NDArray[np.int64], pool: Pool, genres_IG: NDArray[np.uint8]) -> dict[str, float]:
    """Figures of an order of the pool, with the ceiling and the lift over recall's order.

    sameness: mean genre similarity (Jaccard) between two of the first TOP items. genres_IG: genre ids of all items.
    """
    figures = retrieval_metrics(ranked_QC, pool.cases.truth, recall_at=(TOP, POOL), top=TOP)
    by_recall = retrieval_metrics(pool.items_QC, pool.cases.truth, recall_at=(TOP,), top=TOP)
    pairs = ~np.eye(TOP, dtype=bool)
    return {
        **{name: figures[name] for name in (f"recall@{TOP}", f"ndcg@{TOP}", f"coverage@{TOP}")},
        "ceiling": figures[f"recall@{POOL}"],
        "lift": figures[f"ndcg@{TOP}"] / by_recall[f"ndcg@{TOP}"],
        "sameness": float(np.mean([genre_similarity(genres_IG[row])[pairs].mean() for row in ranked_QC[:, :TOP]])),
    }


def _ordered(scores_QC: NDArray[np.floating], pool: Pool) -> NDArray[np.int64]:
    """[Q, C] the pool's items by descending score."""
    return np.take_along_axis(pool.items_QC, np.argsort(-scores_QC, axis=1, kind="stable"), axis=1)


def _spread(
    ranked_QC: NDArray[np.int64], scores_QC: NDArray[np.floating], genres_IG: NDArray[np.uint8], diversity: float
) -> NDArray[np.int64]:
    """The same items with the first TOP chosen out of the best SELECT_FROM as the gateway does."""
    best_QC = -np.sort(-scores_QC, axis=1)[:, :SELECT_FROM]
    selected = ranked_QC.copy()
    for row, best in enumerate(best_QC):
        similarity = genre_similarity(genres_IG[ranked_QC[row, :SELECT_FROM]])
        chosen = select_diverse(best.astype(np.float32), similarity, diversity, TOP)
        rest = np.setdiff1d(np.arange(ranked_QC.shape[1]), chosen)
        selected[row] = ranked_QC[row, np.concatenate([chosen, rest])]
    return selected


def _measure_recall(preset: str, bench: Bench, seed: int) -> Measurement:
    pool = _pool(bench, seed, "test", preset)
    return Measurement(metrics=funnel_metrics(pool.items_QC, pool, bench.dataset.items.genres))


def _measure_alone(model: str, preset: str, bench: Bench, seed: int) -> Measurement:
    pool = _pool(bench, seed, "test")
    ranker = bench.train(model, preset, SPLIT, seed).model
    raw_QC, _ = pool.inputs({model: ranker}, bench.dataset)
    ranked_QC = _ordered(raw_QC[model], pool)
    return Measurement(metrics=funnel_metrics(ranked_QC, pool, bench.dataset.items.genres))


def _measure_blend(rankers: Sequence[str], diversity: float, bench: Bench, seed: int) -> Measurement:
    voices: dict[str, Ranker] = {RECALL: TwoTowerRanker.of(bench.train(RECALL, "full", SPLIT, seed).model)}
    for name in rankers:
        model, preset = name.split(":")
        voices[model] = bench.train(model, preset, SPLIT, seed).model
    voices["ease"] = train_ease(bench.dataset, bench.split(SPLIT))
    blend = _pool(bench, seed, "validation").fit(voices, bench.dataset)
    test = _pool(bench, seed, "test")
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in blend.weights.items())
    scores_QC, genres_IG = blend.scores(*test.inputs(voices, bench.dataset)), bench.dataset.items.genres
    ranked_QC = _ordered(scores_QC, test)
    if diversity:
        ranked_QC = _spread(ranked_QC, 1 / (1 + np.exp(-scores_QC)), genres_IG, diversity)
    return Measurement(metrics=funnel_metrics(ranked_QC, test, genres_IG), note=f"weights: {weights}")


def _pool(bench: Bench, seed: int, part: str, preset: str = "full") -> Pool:
    model = bench.train(RECALL, preset, SPLIT, seed).model
    return Pool.recalled(model, bench.dataset, getattr(bench.split(SPLIT), part), POOL)
