"""The golden runs: each model, small, on the same invented world, and the figures that it comes to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.data.synthetic import synthetic_world
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.ctr import ctr_measurement
from services.trainer.evaluation.outcome import Measurement
from services.trainer.evaluation.rating import rating_measurement
from services.trainer.evaluation.retrieval import two_tower_measurement
from services.trainer.evaluation.splits import RANDOM_90, TEMPORAL
from services.trainer.fit import FitConfig
from services.trainer.item_vectors import item_vectors
from services.trainer.tasks.history_at import predict_rows
from services.trainer.trainers import find_trainer

SMALL: dict[str, dict[str, Any]] = {
    "two_tower": {"fit": FitConfig(epochs=15, learning_rate=5e-3, average_decay=0.95)},
    "multimodal": {"fit": FitConfig(epochs=20, learning_rate=5e-3, average_decay=0.95), "batch_items": 16},
    "simple_cf": {"fit": FitConfig(epochs=8, learning_rate=2e-2, weight_decay=0.4)},
    "dien": {"fit": FitConfig(epochs=4, learning_rate=5e-3, weight_decay=0.1)},
    "dcn": {"fit": FitConfig(epochs=4, learning_rate=5e-3, weight_decay=0.1, average_decay=0.9)},
}
"""How each model's preset "quick" is changed to fit a small world."""


def golden_world() -> Dataset:
    """The data of all golden runs."""
    return synthetic_world(seed=11, users=600, items=300, events=36_000)


def with_shuffled_ratings(world: Dataset) -> Dataset:
    """The same world, with the ratings handed out at random: nothing is left to learn but how often items are met."""
    rating = np.random.default_rng(0).permutation(world.events.rating)
    return replace(world, events=replace(world.events, rating=rating))


def golden_run(model: str, world: Dataset, folder: Path, judged_on: Dataset | None = None) -> dict[str, float]:
    """Train `model` on `world`; its test figures, in the events of `judged_on` where that is another world."""
    split, measure = _MEASURES[model]
    bench = Bench(world, folder, device="cpu", console=Console(quiet=True))
    trainer = find_trainer(model)
    preset: Any = replace(trainer.preset("quick"), **SMALL[model])
    trained, _ = trainer.train(world, bench.split(split), preset, folder, device="cpu", seed=0, console=bench.console)
    judge = Bench(judged_on or world, folder, device="cpu", console=bench.console)
    return {name: round(value, 5) for name, value in measure(trained.eval(), judge, split).metrics.items()}


def _ctr(model: Any, bench: Bench, split: str) -> Measurement:
    return ctr_measurement(bench, bench.split(split), {"test": _predictions(model, bench, split)})


def _rating(model: Any, bench: Bench, split: str) -> Measurement:
    return rating_measurement(bench, split, _predictions(model, bench, split))


def _retrieval(model: Any, bench: Bench, split: str) -> Measurement:
    return two_tower_measurement(model, bench)


def _predictions(model: Any, bench: Bench, split: str) -> Any:
    rows = bench.split(split)
    return predict_rows(model, bench.dataset, rows, rows.test, item_vectors(model, bench.dataset))


_MEASURES: dict[str, tuple[str, Callable[[Any, Bench, str], Measurement]]] = {
    "two_tower": (TEMPORAL, _retrieval),
    "multimodal": (RANDOM_90, _rating),
    "simple_cf": (RANDOM_90, _rating),
    "dien": (TEMPORAL, _ctr),
    "dcn": (TEMPORAL, _ctr),
}
