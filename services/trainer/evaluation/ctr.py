"""Protocols C1, C2 and C3: will this rating be 4 or more? Our rankers, their blend, and baselines."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from recstack.data.splits import RowSplit
from recstack.evaluation.ctr_baselines import CTR_BASELINES
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.ranking_metrics import auc, calibration_error, gauc, logloss
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Details, cut, event_bins, reliability
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Arrays, Measurement, Outcome
from services.trainer.evaluation.trainers import preset_content
from services.trainer.item_vectors import item_vectors
from services.trainer.tasks.history_at import predict_rows
from services.trainer.tasks.segments import liked

BLEND_WEIGHTS = np.linspace(0.0, 1.0, 21)
TINY = 1e-6


def ctr_model(model: str, preset: str, split: str) -> Entrant:
    """A ranker trained on `split` and judged on its test rows. Its arrays: probabilities on validation and test."""
    return Entrant(
        name=f"{model}:{preset}",
        kind=Kind.OURS,
        split=split,
        settings=preset_content(model, preset),
        measure=partial(_measure_model, model, preset, split),
    )


def ctr_blend(protocol: str, first: str, second: str, split: str) -> Entrant:
    """The weighted mean of two rankers' logits; the weight with the least log loss on validation."""
    return Entrant(
        name=f"blend {first.partition(':')[0]} + {second.partition(':')[0]}",
        kind=Kind.OURS,
        split=split,
        settings={name: preset_content(*name.split(":", 1)) for name in (first, second)},
        measure=partial(_measure_blend, protocol, (first, second), split),
        needs=((protocol, first), (protocol, second)),
    )


def ctr_baselines(split: str) -> tuple[Entrant, ...]:
    """Predictors that know the training rows only."""
    return tuple(
        Entrant(
            name=name, kind=Kind.BASELINE, split=split, measure=partial(_measure_baseline, name, split), seeded=False
        )
        for name in CTR_BASELINES
    )


def ctr_measurement(bench: Bench, split: RowSplit, arrays: Arrays, note: str = "") -> Measurement:
    """Test figures of `arrays["test"]`, one score per test row.

    Scores outside 0..1 are no probabilities: only their order is judged. Warm users have training rows, cold ones
    none; where all are of one kind, the two figures are left out.
    """
    events, scores = bench.dataset.events, arrays["test"]
    user, label = events.user[split.test], liked(events.rating[split.test])
    metrics = {"auc": auc(label, scores), "gauc": gauc(user, label, scores)}
    if scores.min() >= 0 and scores.max() <= 1:
        metrics |= {"logloss": logloss(label, scores), "ece": calibration_error(label, scores)}
    warm = np.isin(user, events.user[split.train])
    if warm.any() and not warm.all():
        metrics |= {"auc_warm": auc(label[warm], scores[warm]), "auc_cold": auc(label[~warm], scores[~warm])}
    defined = {name: value for name, value in metrics.items() if not np.isnan(value)}
    return Measurement(
        metrics=defined, arrays={name: part.astype(np.float32) for name, part in arrays.items()}, note=note
    )


def safe_logit(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits of probabilities that are kept away from 0 and 1."""
    return np.asarray(logit(np.clip(probabilities.astype(np.float64), TINY, 1 - TINY)))


def _measure_model(model: str, preset: str, split_name: str, bench: Bench, seed: int) -> Measurement:
    trained, split = bench.train(model, preset, split_name, seed), bench.split(split_name)
    vectors_IE = item_vectors(trained.model, bench.dataset)
    arrays = {
        part: predict_rows(trained.model, bench.dataset, split, rows, vectors_IE)
        for part, rows in (("validation", split.validation), ("test", split.test))
    }
    return trained.complete(ctr_measurement(bench, split, arrays))


def _measure_blend(protocol: str, names: tuple[str, str], split_name: str, bench: Bench, seed: int) -> Measurement:
    split = bench.split(split_name)
    first, second = (bench.outcome(protocol, name, seed).measured.arrays for name in names)
    label = liked(bench.dataset.events.rating[split.validation])

    def blend(part: str, weight: float) -> NDArray[np.float64]:
        return np.asarray(expit(weight * safe_logit(first[part]) + (1 - weight) * safe_logit(second[part])))

    weight = float(min(BLEND_WEIGHTS, key=lambda weight: logloss(label, blend("validation", weight))))
    note = f"{weight:.2f} × {names[0]} + {1 - weight:.2f} × {names[1]} in logits, chosen on validation"
    return ctr_measurement(bench, split, {"test": blend("test", weight)}, note)


def _measure_baseline(name: str, split_name: str, bench: Bench, seed: int) -> Measurement:
    events, split = bench.dataset.events, bench.split(split_name)
    known = LabelledEvents.of(bench.dataset, split.train, liked(events.rating[split.train]))
    scores = CTR_BASELINES[name](known, events.user[split.test], events.item[split.test])
    return ctr_measurement(bench, split, {"test": scores})


def ctr_details(split_name: str, bench: Bench, outcome: Outcome) -> Details:
    """AUC by slices of the test rows, and calibration where the scores are probabilities."""
    split, scores = bench.split(split_name), outcome.measured.arrays["test"]
    label = liked(bench.dataset.events.rating[split.test])
    slices = cut(event_bins(bench.dataset, split), lambda rows: auc(label[rows], scores[rows]))
    calibrated = "logloss" in outcome.measured.metrics
    return Details(slice_metric="AUC", slices=slices, reliability=reliability(label, scores) if calibrated else None)
