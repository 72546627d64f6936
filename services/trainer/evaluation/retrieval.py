"""Protocol T1: what a user will like next, with all unseen items ranked. Our two-towers and classic baselines."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recstack.data.sequences import UserSequences
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.models.two_tower import TwoTower
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.retrieval_baselines import BASELINES, Likes
from services.trainer.evaluation.trainers import preset_content
from services.trainer.items import item_table
from services.trainer.tasks.two_tower import two_tower_scores

SPLIT = "temporal"
DEPTH = 500


def retrieval_model(preset: str) -> Entrant:
    """A two-tower trained on the training period. Its array: the items [Q, DEPTH] it ranks first."""
    return Entrant(
        name=f"two_tower:{preset}",
        kind=Kind.OURS,
        settings=preset_content("two_tower", preset),
        measure=partial(_measure_model, preset),
    )


def retrieval_baselines() -> tuple[Entrant, ...]:
    """Baselines that learn from the same training period as the models and see the same history of a user."""
    return tuple(
        Entrant(name=name, kind=Kind.BASELINE, measure=partial(_measure_baseline, name), seeded=False)
        for name in BASELINES
    )


def cases_of(bench: Bench, part: str) -> RetrievalCases:
    """T1's cases of the "validation" or the "test" period."""
    sequences = UserSequences.build(bench.dataset.events, len(bench.dataset.users.ids))
    rows = getattr(bench.split(SPLIT), part)
    return RetrievalCases.build(bench.dataset, sequences, slice(int(rows[0]), int(rows[-1]) + 1))


def ranking_measurement(ranked_QK: NDArray[np.int64], cases: RetrievalCases) -> Measurement:
    """Test figures of a ranking. Warm users have a history, cold ones none; left out where all are of one kind."""
    metrics = retrieval_metrics(ranked_QK, cases.truth)
    warm = cases.warm
    if warm.any() and not warm.all():
        for name, chosen in (("warm", warm), ("cold", ~warm)):
            part = retrieval_metrics(ranked_QK[chosen], cases.truth[chosen], recall_at=(100,))
            metrics[f"recall@100_{name}"] = part["recall@100"]
    return Measurement(metrics=metrics, arrays={"ranked": ranked_QK.astype(np.int32)})


def two_tower_measurement(model: TwoTower, bench: Bench) -> Measurement:
    """Test figures of a two-tower as it is."""
    cases, table = cases_of(bench, "test"), item_table(bench.dataset).to(next(model.parameters()).device)
    return ranking_measurement(rank_unseen(two_tower_scores(model, table, cases), cases.seen, DEPTH), cases)


def _measure_model(preset: str, bench: Bench, seed: int) -> Measurement:
    trained = bench.train("two_tower", preset, SPLIT, seed)
    return trained.complete(two_tower_measurement(trained.model, bench))


def _measure_baseline(name: str, bench: Bench, seed: int) -> Measurement:
    likes, cases = Likes.of(bench.dataset, bench.split(SPLIT)), cases_of(bench, "test")
    scorer, setting = BASELINES[name](likes, cases_of(bench, "validation"))
    ranked_QK = rank_unseen(scorer.scores(cases), cases.seen, DEPTH)
    return replace(ranking_measurement(ranked_QK, cases), note=f"{setting}, chosen on validation")
