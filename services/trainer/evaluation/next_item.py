"""Protocol S1: what comes next, each user's last event left out, with the whole catalogue ranked."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recstack.evaluation.leave_one_out import leave_one_out_metrics, next_item_cases
from recstack.evaluation.popularity import Popularity, decayed_popularity
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import hits, rank_unseen, reciprocal_rank
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Details
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement, Outcome
from services.trainer.evaluation.retrieval import ranking_details
from services.trainer.evaluation.splits import LEAVE_ONE_OUT
from services.trainer.evaluation.trainers import preset_content
from services.trainer.items import item_table
from services.trainer.tasks.history_at import events_at
from services.trainer.tasks.two_tower_scores import two_tower_scores

DEPTH = 100


def next_item_model(preset: str) -> Entrant:
    """A two-tower trained on all but each user's last two events. Its array: the items [Q, DEPTH] ranked first."""
    return Entrant(
        name=f"two_tower:{preset}",
        kind=Kind.OURS,
        split=LEAVE_ONE_OUT,
        settings=preset_content("two_tower", preset),
        measure=partial(_measure_model, preset),
    )


def next_item_baselines() -> tuple[Entrant, ...]:
    """Popularity: events per item in training."""
    return (
        Entrant(name="popularity", kind=Kind.BASELINE, split=LEAVE_ONE_OUT, measure=_measure_popularity, seeded=False),
    )


def next_item_details(bench: Bench, outcome: Outcome) -> Details:
    """Hit rate over K, and hit rate@10 of users by history and of the next items by popularity."""
    details = ranking_details(bench, LEAVE_ONE_OUT, _cases(bench), outcome, 10)
    return replace(details, slice_metric="HR@10")


def _measure_model(preset: str, bench: Bench, seed: int) -> Measurement:
    trained, cases = bench.train("two_tower", preset, LEAVE_ONE_OUT, seed), _cases(bench)
    table = item_table(bench.sequences).to(next(trained.model.parameters()).device)
    return trained.complete(_measurement(two_tower_scores(trained.model, table, cases), cases))


def _measure_popularity(bench: Bench, seed: int) -> Measurement:
    data, cases = bench.sequences, _cases(bench)
    counts_I = decayed_popularity(events_at(data, bench.split(LEAVE_ONE_OUT).train), len(data.items.ids), None)
    return _measurement(Popularity(counts_I).scores(cases), cases)


def _cases(bench: Bench) -> RetrievalCases:
    return next_item_cases(bench.sequences, bench.split(LEAVE_ONE_OUT).test)


def _measurement(scores_QI: NDArray[np.float32], cases: RetrievalCases) -> Measurement:
    ranked_QK = rank_unseen(scores_QI, cases.seen, DEPTH)
    metrics = leave_one_out_metrics(ranked_QK, cases.truth)
    metrics["mrr@10"] = float(reciprocal_rank(hits(ranked_QK, cases.truth), 10).mean())
    return Measurement(metrics=metrics, arrays={"ranked": ranked_QK.astype(np.int32)})
