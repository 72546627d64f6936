"""Training and evaluating a ranker end to end on an invented world."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recstack.data.dataset import Dataset
from recstack.data.splits import TemporalSplit, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.models.dien import DIEN
from services.trainer.evaluation.ranking import evaluate_ranking
from services.trainer.fit import FitConfig, FitResult
from services.trainer.tasks.dien import DIEN_PRESETS, set_item_bias, train_dien
from services.trainer.tasks.history_at import events_at, predict_rows
from services.trainer.tasks.segments import liked

PRESET = dataclasses.replace(
    DIEN_PRESETS["quick"], fit=FitConfig(epochs=3, learning_rate=1e-2), batch_segments=16, hidden=16
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
) -> tuple[DIEN, FitResult, Path]:
    folder = tmp_path_factory.mktemp("run")
    model, result = train_dien(world, temporal_rows(split), PRESET, folder, device="cpu", seed=1)
    return model, result, folder


def test_the_ranker_beats_every_baseline(
    world: Dataset, split: TemporalSplit, trained: tuple[DIEN, FitResult, Path]
) -> None:
    ours, *baselines = evaluate_ranking(trained[0], world, split)
    assert [row.name for row in baselines] == ["popularity", "item mean", "item-kNN", "biased MF"]
    assert ours.auc > max(row.auc for row in baselines) + 0.01
    assert ours.logloss < min(row.logloss for row in baselines[1:])
    assert ours.calibration_error < 0.1
    assert np.isnan(baselines[0].logloss)
    assert baselines[1].auc > 0.55


def test_a_finished_run_is_not_trained_again(
    world: Dataset, split: TemporalSplit, trained: tuple[DIEN, FitResult, Path]
) -> None:
    model, result, folder = trained
    again, second = train_dien(world, temporal_rows(split), PRESET, folder, device="cpu", seed=1)
    assert second.history == result.history
    rows = temporal_rows(split)
    np.testing.assert_array_equal(
        predict_rows(model, world, rows, rows.test[:50]), predict_rows(again, world, rows, rows.test[:50])
    )


def test_predictions_do_not_depend_on_what_is_predicted_together(
    world: Dataset, split: TemporalSplit, trained: tuple[DIEN, FitResult, Path]
) -> None:
    rows = temporal_rows(split).test[:40]
    together = predict_rows(trained[0], world, temporal_rows(split), rows)
    alone = [predict_rows(trained[0], world, temporal_rows(split), rows[i : i + 1])[0] for i in range(len(rows))]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_item_biases_start_at_the_smoothed_like_rate(world: Dataset, split: TemporalSplit) -> None:
    events = events_at(world, temporal_rows(split).train)
    model = DIEN(PRESET.model_config(len(world.items.ids)))
    set_item_bias(model, events)
    rate = model.item_bias.sigmoid().detach().numpy()
    labels = liked(events.rating)
    assert rate[0] == pytest.approx(labels.mean(), abs=1e-5)
    item = int(np.bincount(events.item).argmax())
    own = labels[events.item == item]
    assert rate[item + 1] == pytest.approx((own.sum() + 20 * labels.mean()) / (len(own) + 20), abs=1e-5)
