"""Training and evaluating a ranker end to end on an invented world."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recstack.data.dataset import Dataset
from recstack.data.splits import TemporalSplit, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.models.dien import DIEN
from services.trainer.evaluation.ranking import evaluate_ranking
from services.trainer.fit import FitConfig, FitResult
from services.trainer.items import item_table
from services.trainer.tasks.dien import RANKING_PRESETS, events_before, set_item_bias, train_ranking
from services.trainer.tasks.history_at import HistoryAt
from services.trainer.tasks.segments import liked

PRESET = dataclasses.replace(
    RANKING_PRESETS["quick"], fit=FitConfig(epochs=3, learning_rate=1e-2), batch_segments=16, hidden=16
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
    model, result = train_ranking(world, split, PRESET, folder, device="cpu", seed=1)
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
    again, second = train_ranking(world, split, PRESET, folder, device="cpu", seed=1)
    assert second.history == result.history
    rows = np.arange(split.test.start, split.test.stop)[:50]
    known = HistoryAt(world, world.events)
    np.testing.assert_array_equal(
        known.predict(model, item_table(world), rows), known.predict(again, item_table(world), rows)
    )


def test_predictions_do_not_depend_on_what_is_predicted_together(
    world: Dataset, split: TemporalSplit, trained: tuple[DIEN, FitResult, Path]
) -> None:
    known, table = HistoryAt(world, world.events), item_table(world)
    rows = np.arange(split.test.start, split.test.stop)[:40]
    together = known.predict(trained[0], table, rows)
    alone = np.concatenate([known.predict(trained[0], table, rows[i : i + 1]) for i in range(len(rows))])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_item_biases_start_at_the_smoothed_like_rate(world: Dataset, split: TemporalSplit) -> None:
    events = events_before(world, split.train.stop)
    model = DIEN(PRESET.model_config(len(world.items.ids)))
    set_item_bias(model, events)
    rate = model.item_bias.sigmoid().detach().numpy()
    labels = liked(events.rating)
    assert rate[0] == pytest.approx(labels.mean(), abs=1e-5)
    item = int(np.bincount(events.item).argmax())
    own = labels[events.item == item]
    assert rate[item + 1] == pytest.approx((own.sum() + 20 * labels.mean()) / (len(own) + 20), abs=1e-5)
