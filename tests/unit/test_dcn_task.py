"""Training Deep & Cross end to end on an invented world, in each of its forms."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit, random_split, temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.evaluation.ranking_metrics import auc
from recstack.models.dcn import DCN
from services.trainer.fit import FitConfig, Worker
from services.trainer.tasks.dcn import DCN_PRESETS, RowTask, train_dcn
from services.trainer.tasks.dcn_rows import RowEpoch, TrainingRows
from services.trainer.tasks.history_at import HistoryAt, predict_rows
from services.trainer.tasks.segments import liked


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=2, users=150, items=80, events=6_000)


@pytest.fixture(scope="module")
def at_random(world: Dataset) -> RowSplit:
    return random_split(world, (0.1, 0.1), seed=5)


def train(world: Dataset, split: RowSplit, preset: str, run_dir: Path, epochs: int = 3) -> tuple[DCN, dict[str, float]]:
    short = dataclasses.replace(
        DCN_PRESETS[preset], fit=FitConfig(epochs=epochs, learning_rate=1e-2, weight_decay=0.1), batch_rows=64
    )
    model, result = train_dcn(world, split, short, run_dir, device="cpu", seed=1)
    return model, result.metrics


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_a_history_orders_better_than_the_item_mean(world: Dataset, preset: str, tmp_path: Path) -> None:
    split = temporal_rows(temporal_split(world))
    model, _ = train(world, split, preset, tmp_path, epochs=4)
    events = world.events
    total = np.bincount(events.item[split.train], liked(events.rating[split.train]), minlength=80)
    mean = total / np.maximum(np.bincount(events.item[split.train], minlength=80), 1)
    labels = liked(events.rating[split.test])
    ours = predict_rows(model, world, split, split.test)
    assert ours.min() >= 0
    assert ours.max() <= 1
    assert auc(labels, ours) > auc(labels, mean[events.item[split.test]]) + 0.03


@pytest.mark.parametrize("preset", ["notebook", "no_ids", "rating"])
def test_ratings_are_predicted_better_than_by_their_mean(
    world: Dataset, at_random: RowSplit, preset: str, tmp_path: Path
) -> None:
    model, metrics = train(world, at_random, preset, tmp_path, epochs=4)
    ratings = world.events.rating[at_random.test]
    predicted = predict_rows(model, world, at_random, at_random.test)
    assert np.mean((predicted - ratings) ** 2) < np.var(ratings)
    assert predicted.min() >= 1
    assert predicted.max() <= 5
    assert metrics["mse"] < np.var(world.events.rating[at_random.validation])


def test_likes_are_predicted_from_ids_and_training_rows(world: Dataset, at_random: RowSplit, tmp_path: Path) -> None:
    model, metrics = train(world, at_random, "random", tmp_path)
    assert metrics["auc"] > 0.6
    labels = liked(world.events.rating[at_random.test])
    assert auc(labels, predict_rows(model, world, at_random, at_random.test)) > 0.6


def test_the_memories_that_are_kept_belong_to_the_weights_that_are_kept(
    world: Dataset, at_random: RowSplit, tmp_path: Path
) -> None:
    model, _ = train(world, at_random, "random", tmp_path)
    assert model.user_memory is not None
    kept = model.user_memory.total_OM.clone()
    assert kept.abs().max() > 0
    model.refresh_memories()
    torch.testing.assert_close(model.user_memory.total_OM, kept)


def test_predictions_do_not_depend_on_ratings_that_are_not_for_training(
    world: Dataset, at_random: RowSplit, tmp_path: Path
) -> None:
    ratings = world.events.rating.copy()
    held_out = np.concatenate([at_random.validation, at_random.test])
    ratings[held_out] = 6 - ratings[held_out]
    flipped = dataclasses.replace(world, events=dataclasses.replace(world.events, rating=ratings))
    predicted = [
        predict_rows(train(data, at_random, "rating", tmp_path / name, 1)[0], data, at_random, at_random.test[:200])
        for name, data in (("as_is", world), ("flipped", flipped))
    ]
    np.testing.assert_array_equal(*predicted)


def test_training_rows_have_the_history_that_is_served(world: Dataset, at_random: RowSplit) -> None:
    rows, known = TrainingRows(world, at_random, max_history=7), HistoryAt(world, at_random)
    batch = rows.gather(np.arange(len(rows)), np.arange(0))
    by_user = at_random.train[np.argsort(world.events.user[at_random.train], kind="stable")]
    served = known.users(by_user[:300], 7)
    for name in ("profile_B4", "items_BL", "ratings_BL", "lengths_B", "users_B"):
        torch.testing.assert_close(getattr(batch.users, name)[:300], getattr(served, name))
    np.testing.assert_array_equal(batch.items_B[:300], world.events.item[by_user[:300]] + 1)


def test_what_is_predicted_is_never_remembered(world: Dataset, at_random: RowSplit) -> None:
    rows = TrainingRows(world, at_random, max_history=3)
    predicted = 0
    for batch in RowEpoch(rows, 300, 4, 0.0, (1, 2)):
        pairs = set(zip(rows.users[batch.remembered].tolist(), rows.items[batch.remembered].tolist(), strict=True))
        own = zip(batch.users.users_B.tolist(), batch.items_B.tolist(), strict=True)
        assert not pairs.intersection(own)
        assert len(pairs) > 0.7 * len(rows)
        predicted += len(batch)
    assert predicted == len(rows)


def test_workers_share_each_batch(world: Dataset, at_random: RowSplit) -> None:
    rows = TrainingRows(world, at_random, max_history=3)
    whole = list(RowEpoch(rows, 100, 3, 0.2, (1, 2)))
    parts = [list(RowEpoch(rows, 100, 3, 0.2, (1, 2), Worker(rank, 2))) for rank in range(2)]
    assert sum(len(batch) for batch in whole) == len(rows)
    for batch, first, second in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch.items_B[0::2], first.items_B)
        np.testing.assert_array_equal(batch.users.users_B[1::2], second.users.users_B)
    assert len(RowEpoch(rows, 100, 3, 0.2, (1, 2))) == len(whole)
    unknown = np.concatenate([batch.users.users_B == 0 for batch in whole]).mean()
    assert 0.1 < unknown < 0.3


def test_the_cross_penalty_is_a_part_of_the_mean_loss(world: Dataset, at_random: RowSplit) -> None:
    preset = DCN_PRESETS["notebook"]
    losses = []
    for penalty in (0.0, 0.5):
        torch.manual_seed(0)
        model = DCN(preset.model_config(150, 80)).eval()
        task = RowTask(model, world, at_random, dataclasses.replace(preset, cross_penalty=penalty), seed=0)
        loss = task.loss(next(iter(task.batches(0))))
        losses.append((loss.total / loss.weight).item())
    assert losses[1] - losses[0] == pytest.approx(0.5 * model.cross.penalty().item(), rel=1e-4)
