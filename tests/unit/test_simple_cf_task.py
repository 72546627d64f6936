"""Training SimpleCF end to end on an invented world."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit, random_split, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.errors import InvalidRequestError
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.rating_baselines import item_mean
from recstack.evaluation.rating_metrics import rmse
from recstack.models.ranker import Prediction
from services.trainer.fit import FitConfig
from services.trainer.tasks.history_at import predict_rows
from services.trainer.tasks.simple_cf import SIMPLE_CF_PRESETS, SimpleCFPreset, train_simple_cf

FIT = FitConfig(epochs=8, learning_rate=2e-2, patience=8)
SMALL = SimpleCFPreset(fit=FIT, batch_rows=256, factors=4, biases=True)


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=2, users=200, items=100, events=8_000)


@pytest.fixture(scope="module")
def split(world: Dataset) -> RowSplit:
    return random_split(world, (0.1, 0.1), seed=0)


@pytest.mark.parametrize("change", [{"fit": dataclasses.replace(FIT, weight_decay=0.3)}, {"prior_std": 0.3}])
def test_it_beats_the_item_mean(world: Dataset, split: RowSplit, change: dict[str, object], tmp_path: Path) -> None:
    model, result = train_simple_cf(world, split, dataclasses.replace(SMALL, **change), tmp_path, "cpu")
    events = world.events
    known = LabelledEvents.of(world, split.train, events.rating[split.train])
    ratings = events.rating[split.test]
    theirs = rmse(ratings, item_mean(known, events.user[split.test], events.item[split.test]))
    assert rmse(ratings, predict_rows(model, world, split, split.test)) < theirs - 0.02
    # What validation reported is what the functions that serve requests give.
    served = predict_rows(model, world, split, split.validation)
    assert rmse(events.rating[split.validation], served) == pytest.approx(result.metrics["rmse"], abs=1e-5)


@pytest.mark.parametrize("prior_std", [0.0, 0.3])
def test_likes_are_probabilities(world: Dataset, split: RowSplit, prior_std: float, tmp_path: Path) -> None:
    preset = dataclasses.replace(SMALL, binary=True, prior_std=prior_std)
    model, result = train_simple_cf(world, split, preset, tmp_path, "cpu")
    assert model.prediction is Prediction.LIKE
    assert result.metrics["auc"] > 0.55
    assert result.metrics["logloss"] < np.log(2)


def test_new_users_are_average_ones(world: Dataset, tmp_path: Path) -> None:
    split = temporal_rows(temporal_split(world))
    model, _ = train_simple_cf(world, split, dataclasses.replace(SMALL, biases=False), tmp_path, "cpu")
    table = model.user_embeddings.weight.detach()
    known = np.unique(world.events.user[split.train])
    unknown = np.setdiff1d(np.arange(len(world.users.ids)), known)
    assert len(unknown) > 0
    for row in (0, unknown[0] + 1):
        torch.testing.assert_close(table[row], table[known + 1].mean(0))


def test_pretrained_and_frozen_tables_come_from_files(world: Dataset, split: RowSplit, tmp_path: Path) -> None:
    items = np.random.default_rng(0).normal(size=(len(world.items.ids) + 1, 4)).astype(np.float32)
    np.save(tmp_path / "items.npy", items)
    preset = dataclasses.replace(SMALL, pretrained_items=tmp_path / "items.npy", freeze_items=True)
    model, _ = train_simple_cf(world, split, preset, tmp_path / "run", "cpu")
    np.testing.assert_array_equal(model.item_embeddings.weight.detach().numpy(), items)


def test_a_file_that_is_no_table_is_named(world: Dataset, split: RowSplit, tmp_path: Path) -> None:
    (tmp_path / "users.npy").write_text("1,2,3")
    preset = dataclasses.replace(SMALL, pretrained_users=tmp_path / "users.npy")
    with pytest.raises(InvalidRequestError, match=r"users.npy is no table of numbers"):
        train_simple_cf(world, split, preset, tmp_path / "run", "cpu")


def test_a_warm_start_begins_where_the_other_model_ended(world: Dataset, split: RowSplit, tmp_path: Path) -> None:
    first, _ = train_simple_cf(world, split, SMALL, tmp_path / "first", "cpu")
    short = dataclasses.replace(SMALL, fit=FitConfig(epochs=1, learning_rate=1e-4))
    _, cold = train_simple_cf(world, split, short, tmp_path / "cold", "cpu")
    _, warm = train_simple_cf(world, split, short, tmp_path / "warm", "cpu", warm_start=first)
    assert warm.history[0]["loss"] < cold.history[0]["loss"] - 0.1


def test_a_checkpoint_of_another_start_is_not_used(world: Dataset, split: RowSplit, tmp_path: Path) -> None:
    first, cold = train_simple_cf(world, split, SMALL, tmp_path, "cpu")
    again, resumed = train_simple_cf(world, split, SMALL, tmp_path, "cpu")
    assert resumed.history == cold.history
    torch.testing.assert_close(again.state_dict(), first.state_dict())
    _, warm = train_simple_cf(world, split, SMALL, tmp_path, "cpu", warm_start=first)
    assert warm.history != cold.history


def test_the_notebook_preset_is_the_notebook_form() -> None:
    preset = SIMPLE_CF_PRESETS["notebook"]
    assert (preset.factors, preset.binary, preset.biases, preset.prior_std) == (16, False, False, 0.0)
    assert (preset.init, dict(preset.init_arguments)) == ("normal_", {"mean": 0.0, "std": 0.1})
