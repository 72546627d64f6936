"""Protocol T1: what a user will like next, with all unseen items ranked. Our two-towers and classic baselines."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recstack.data.sequences import UserSequences
from recstack.evaluation.beyond_accuracy import Popularity, beyond_accuracy
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import hits, rank_unseen, retrieval_metrics, truth_counts
from recstack.models.retriever import Retriever
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import HISTORY, POPULARITY, Details, Series, age_bins, count_bins, cut
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement, Outcome
from services.trainer.evaluation.retrieval_baselines import BASELINES, Likes
from services.trainer.evaluation.splits import TEMPORAL
from services.trainer.evaluation.trainers import preset_content
from services.trainer.items import item_table
from services.trainer.tasks.fused import fuse
from services.trainer.tasks.two_tower_scores import two_tower_scores

SPLIT = TEMPORAL
DEPTH = 500


def retrieval_model(preset: str) -> Entrant:
    """A two-tower trained on the training period. Its array: the items [Q, DEPTH] ranked first."""
    return Entrant(
        name=f"two_tower:{preset}",
        kind=Kind.OURS,
        settings=preset_content("two_tower", preset),
        measure=partial(_measure_model, preset),
    )


def fused_model(preset: str) -> Entrant:
    """A two-tower joined with EASE and demand, the weights fitted on validation: what a bundle serves."""
    return Entrant(
        name=f"two_tower:{preset} + EASE + demand",
        kind=Kind.OURS,
        settings=preset_content("two_tower", preset),
        measure=partial(_measure_fused, preset),
        needs=(("T1", f"two_tower:{preset}"),),
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


def item_counts(bench: Bench, split: str) -> NDArray[np.int64]:
    """[I] training events of each item."""
    data = bench.data(split)
    return np.bincount(data.events.item[bench.split(split).train], minlength=len(data.items.ids))


def ranking_measurement(ranked_QK: NDArray[np.int64], cases: RetrievalCases, popularity_I: Popularity) -> Measurement:
    """Test figures of a ranking. Warm users have a history, cold ones none; left out where all are of one kind.

    popularity_I: training events of each item, against which novelty is judged.
    """
    metrics = retrieval_metrics(ranked_QK, cases.truth) | beyond_accuracy(ranked_QK, popularity_I)
    warm = cases.warm
    if warm.any() and not warm.all():
        for name, chosen in (("warm", warm), ("cold", ~warm)):
            part = retrieval_metrics(ranked_QK[chosen], cases.truth[chosen], recall_at=(100,))
            metrics[f"recall@100_{name}"] = part["recall@100"]
    return Measurement(metrics=metrics, arrays={"ranked": ranked_QK.astype(np.int32)})


def two_tower_measurement(model: Retriever, bench: Bench) -> Measurement:
    """Test figures of a two-tower as it is."""
    cases, table = cases_of(bench, "test"), item_table(bench.dataset).to(next(model.parameters()).device)
    return ranking_measurement(
        rank_unseen(two_tower_scores(model, table, cases), cases.seen, DEPTH), cases, item_counts(bench, SPLIT)
    )


def _measure_model(preset: str, bench: Bench, seed: int) -> Measurement:
    trained = bench.train("two_tower", preset, SPLIT, seed)
    return trained.complete(two_tower_measurement(trained.model, bench))


def _measure_fused(preset: str, bench: Bench, seed: int) -> Measurement:
    two_tower, split = bench.train("two_tower", preset, SPLIT, seed).model, bench.split(SPLIT)
    fused = fuse(two_tower, bench.dataset, split, known=int(split.test[0]))
    weights = f"two-tower {fused.config.two_tower_weight:.2f}, EASE {fused.config.ease_weight:.2f}"
    return replace(two_tower_measurement(fused, bench), note=f"weights from validation: {weights}")


def _measure_baseline(name: str, bench: Bench, seed: int) -> Measurement:
    likes, cases = Likes.of(bench.dataset, bench.split(SPLIT)), cases_of(bench, "test")
    scorer, setting = BASELINES[name](likes, cases_of(bench, "validation"))
    ranked_QK = rank_unseen(scorer.scores(cases), cases.seen, DEPTH)
    return replace(
        ranking_measurement(ranked_QK, cases, item_counts(bench, SPLIT)), note=f"{setting}, chosen on validation"
    )


def retrieval_details(bench: Bench, outcome: Outcome) -> Details:
    """Recall@K over K, and recall@100 of users by history and age, and of true items by popularity."""
    cases = cases_of(bench, "test")
    return ranking_details(bench, SPLIT, cases, outcome, 100)


def ranking_details(bench: Bench, split: str, cases: RetrievalCases, outcome: Outcome, k: int) -> Details:
    """Details of the ranking that an outcome keeps."""
    dataset, ranked_QK = bench.data(split), outcome.measured.arrays["ranked"].astype(np.int64)
    hits_QK, counts_Q = hits(ranked_QK, cases.truth), truth_counts(cases.truth)
    found_K = (np.cumsum(hits_QK, axis=1) / counts_Q[:, None]).mean(axis=0)
    ranks = np.unique(np.geomspace(1, len(found_K), 60).astype(int))
    known = np.array([len(rows) for rows in cases.histories])
    of_user = {HISTORY: count_bins(known), **age_bins(dataset, cases.users)}
    share_Q = hits_QK[:, :k].sum(axis=1) / counts_Q
    slices = cut(of_user, lambda chosen: float(share_Q[chosen].mean()))
    case, item = cases.truth.nonzero()
    found = (ranked_QK[case, :k] == item[:, None]).any(axis=1)
    slices |= cut({POPULARITY: count_bins(item_counts(bench, split)[item])}, lambda chosen: float(found[chosen].mean()))
    curve = Series(tuple(float(rank) for rank in ranks), tuple(float(found_K[rank - 1]) for rank in ranks))
    return Details(slice_metric=f"recall@{k}", slices=slices, recall=curve)
