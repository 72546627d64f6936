"""Protocols R1, R1-cold and R2: which rating will it be? Our rating models, and baselines."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.rating_baselines import RATING_BASELINES
from recstack.evaluation.rating_metrics import mae, mse, rmse
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Details, cut, event_bins
from services.trainer.evaluation.entrant import Entrant, Kind
from services.trainer.evaluation.outcome import Measurement, Outcome
from services.trainer.evaluation.trainers import preset_content
from services.trainer.item_vectors import item_vectors
from services.trainer.tasks.history_at import predict_rows


def rating_model(model: str, preset: str, split: str) -> Entrant:
    """A rating model trained on `split` and judged on its test rows. Its array: the ratings it predicts there."""
    return Entrant(
        name=f"{model}:{preset}",
        kind=Kind.OURS,
        split=split,
        settings=preset_content(model, preset),
        measure=partial(_measure_model, model, preset, split),
    )


def rating_baselines(split: str) -> tuple[Entrant, ...]:
    """Predictors that know the training rows only."""
    return tuple(
        Entrant(
            name=name, kind=Kind.BASELINE, split=split, measure=partial(_measure_baseline, name, split), seeded=False
        )
        for name in RATING_BASELINES
    )


def rating_measurement(bench: Bench, split_name: str, predicted: NDArray[np.floating]) -> Measurement:
    """Figures of one prediction per test row, clipped to 1..5."""
    actual = bench.dataset.events.rating[bench.split(split_name).test]
    metrics = {"rmse": rmse(actual, predicted), "mse": mse(actual, predicted), "mae": mae(actual, predicted)}
    return Measurement(metrics=metrics, arrays={"test": predicted.astype(np.float32)})


def rating_details(split_name: str, bench: Bench, outcome: Outcome) -> Details:
    """RMSE by slices of the test rows."""
    split, predicted = bench.split(split_name), outcome.measured.arrays["test"]
    actual = bench.dataset.events.rating[split.test]
    return Details(
        slice_metric="RMSE",
        slices=cut(event_bins(bench.dataset, split), lambda rows: rmse(actual[rows], predicted[rows])),
    )


def _measure_model(model: str, preset: str, split_name: str, bench: Bench, seed: int) -> Measurement:
    trained, split = bench.train(model, preset, split_name, seed), bench.split(split_name)
    predicted = predict_rows(
        trained.model, bench.dataset, split, split.test, item_vectors(trained.model, bench.dataset)
    )
    return trained.complete(rating_measurement(bench, split_name, predicted))


def _measure_baseline(name: str, split_name: str, bench: Bench, seed: int) -> Measurement:
    events, split = bench.dataset.events, bench.split(split_name)
    known = LabelledEvents.of(bench.dataset, split.train, events.rating[split.train])
    predicted = RATING_BASELINES[name](known, events.user[split.test], events.item[split.test])
    return rating_measurement(bench, split_name, predicted)
