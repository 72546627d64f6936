"""Training and evaluating a ranker end to end on an invented world."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recstack.data.dataset import Dataset
from recstack.data.splits import TemporalSplit, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.evaluation.ctr_baselines import CTR_BASELINES
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.ranking_metrics import auc, calibration_error, logloss
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN
from recstack.models.ranker import Ranker
from services.trainer.fit import FitConfig, FitResult
from services.trainer.tasks.dien import DIEN_PRESETS, DIENTask, set_item_bias, train_dien
from services.trainer.tasks.history_at import events_at, predict_rows
from services.trainer.tasks.segments import liked

PRESET = dataclasses.replace(
    DIEN_PRESETS["quick"],
    fit=FitConfig(epochs=3, learning_rate=2e-2),
    batch_targets=512,
    config=DIENConfig(num_items=1, hidden=16),
)


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=2, users=200, items=100, events=8_000)


@pytest.fixture(scope="module")
def split(world: Dataset) -> TemporalSplit:
    return temporal_split(world)


@pytest.fixture(scope="module")
def trained(
    world: Dataset, split: TemporalSplit, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ranker, FitResult, Path]:
    folder = tmp_path_factory.mktemp("run")
    model, result = train_dien(world, temporal_rows(split), PRESET, folder, device="cpu", seed=1)
    return model, result, folder


def test_the_ranker_beats_every_baseline(
    world: Dataset, split: TemporalSplit, trained: tuple[Ranker, FitResult, Path]
) -> None:
    rows, events = temporal_rows(split), world.events
    label, ours = liked(events.rating[rows.test]), predict_rows(trained[0], world, rows, rows.test)
    known = LabelledEvents.of(world, rows.train, liked(events.rating[rows.train]))
    asked = events.user[rows.test], events.item[rows.test]
    baselines = {name: baseline(known, *asked) for name, baseline in CTR_BASELINES.items()}
    assert auc(label, ours) > max(auc(label, scores) for scores in baselines.values()) + 0.01
    baselines.pop("popularity")  # an order, no probabilities
    assert logloss(label, ours) < min(logloss(label, scores) for scores in baselines.values())
    assert calibration_error(label, ours) < 0.1


def test_a_finished_run_is_not_trained_again(
    world: Dataset, split: TemporalSplit, trained: tuple[Ranker, FitResult, Path]
) -> None:
    model, result, folder = trained
    again, second = train_dien(world, temporal_rows(split), PRESET, folder, device="cpu", seed=1)
    assert second.history == result.history
    rows = temporal_rows(split)
    np.testing.assert_array_equal(
        predict_rows(model, world, rows, rows.test[:50]), predict_rows(again, world, rows, rows.test[:50])
    )


def test_a_run_on_another_split_is_another_run(world: Dataset, split: TemporalSplit) -> None:
    rows, model = temporal_rows(split), PRESET.model(len(world.items.ids))
    fewer = dataclasses.replace(rows, train=rows.train[:-100])
    of_rows, of_fewer = (DIENTask(model, world, part, PRESET, seed=1).identity() for part in (rows, fewer))
    assert of_rows != of_fewer


def test_predictions_do_not_depend_on_what_is_predicted_together(
    world: Dataset, split: TemporalSplit, trained: tuple[Ranker, FitResult, Path]
) -> None:
    rows = temporal_rows(split).test[:40]
    together = predict_rows(trained[0], world, temporal_rows(split), rows)
    alone = [predict_rows(trained[0], world, temporal_rows(split), rows[i : i + 1])[0] for i in range(len(rows))]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_item_biases_start_at_the_smoothed_like_rate(world: Dataset, split: TemporalSplit) -> None:
    events = events_at(world, temporal_rows(split).train)
    model = DIEN(DIENConfig(num_items=len(world.items.ids)))
    set_item_bias(model, events)
    rate = model.item_bias.sigmoid().detach().numpy()
    labels = liked(events.rating)
    assert rate[0] == pytest.approx(labels.mean(), abs=1e-5)
    item = int(np.bincount(events.item).argmax())
    own = labels[events.item == item]
    assert rate[item + 1] == pytest.approx((own.sum() + 20 * labels.mean()) / (len(own) + 20), abs=1e-5)


def test_the_notebooks_form_trains_too(world: Dataset, split: TemporalSplit, tmp_path: Path) -> None:
    preset = dataclasses.replace(DIEN_PRESETS["notebook"], fit=FitConfig(epochs=1, learning_rate=1e-2))
    rows = temporal_rows(split)
    model, result = train_dien(world, rows, preset, tmp_path, device="cpu", seed=1)
    assert isinstance(model, NotebookDIEN)
    assert result.metrics["auc"] > 0.52
    probabilities = predict_rows(model, world, rows, rows.test[:50])
    assert 0 < probabilities.min() < probabilities.max() < 1
