"""Training the multimodal model on an invented world, and judging it on items that it never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recstack.data import Dataset, RowSplit, random_split, synthetic_world
from recstack.models.multimodal import Multimodal, encode_content
from services.trainer.fit import FitConfig, FitResult, Worker
from services.trainer.tasks.history_at import predict_rows
from services.trainer.tasks.multimodal import (
    MULTIMODAL_PRESETS,
    MultimodalTask,
    content_of,
    held_out_items,
    train_multimodal,
)
from services.trainer.tasks.multimodal_batches import ItemEpoch, ItemRatings

PRESET = replace(
    MULTIMODAL_PRESETS["quick"],
    fit=FitConfig(epochs=20, learning_rate=1e-2, patience=20, average_decay=0.9),
    batch_items=32,
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=2, users=150, items=120, events=6_000)


@pytest.fixture(scope="module")
def split(world: Dataset) -> RowSplit:
    return held_out_items(world, share=0.15, seed=4)


@pytest.fixture(scope="module")
def trained(world: Dataset, split: RowSplit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Multimodal, FitResult]:
    return train_multimodal(world, split, PRESET, tmp_path_factory.mktemp("run"), device="cpu", seed=1)


def test_items_are_held_out_with_all_their_ratings(world: Dataset, split: RowSplit) -> None:
    parts = [set(world.events.item[rows].tolist()) for rows in (split.train, split.validation, split.test)]
    rated = len(set(world.events.item.tolist()))

    assert sum(map(len, parts)) == rated == len(set.union(*parts))
    assert len(parts[1]) == len(parts[2]) == round(0.15 * rated)
    rows = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(world.events)))
    np.testing.assert_array_equal(held_out_items(world, 0.15, 4).test, split.test)
    assert set(held_out_items(world, 0.15, 5).test) != set(split.test)


def test_cells_give_the_squared_error_of_every_single_rating(world: Dataset) -> None:
    rows = np.arange(0, len(world.events), 3)
    ratings = ItemRatings(world, rows)
    items = ratings.rated[[3, 0, 17]]
    cells = ratings.cells(items)
    profiles_P4 = ratings.profiles_P4.numpy()
    predicted_PN = torch.randn(len(profiles_P4), 3) + 3

    expected = 0.0
    for row in rows[np.isin(world.events.item[rows], items)]:
        profile = (profiles_P4 == world.users.profiles()[world.events.user[row]]).all(1).nonzero()[0][0]
        place = items.tolist().index(world.events.item[row])
        expected += (world.events.rating[row] - predicted_PN[profile, place].item()) ** 2

    assert cells.items_N.tolist() == (items + 1).tolist()
    assert cells.squared_error(predicted_PN).item() == pytest.approx(expected, rel=1e-5)


def test_an_epoch_has_every_rating_once_and_workers_share_each_batch(world: Dataset) -> None:
    ratings = ItemRatings(world, np.arange(len(world.events)))
    whole = list(ItemEpoch(ratings, 50, (1, 2)))
    shares = [list(ItemEpoch(ratings, 50, (1, 2), Worker(rank, 2))) for rank in range(2)]

    assert len(whole) == len(ItemEpoch(ratings, 50, (1, 2))) == 3
    assert sum(float(batch.counts_PN.sum()) for batch in whole) == len(world.events)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(torch.cat([part.items_N for part in parts]).tolist()) == sorted(batch.items_N.tolist())
        assert sum(part.within for part in parts) == pytest.approx(batch.within)
    resumed = [batch.items_N.tolist() for batch in ItemEpoch(ratings, 50, (1, 2)).starting_at(1)]
    assert resumed == [batch.items_N.tolist() for batch in whole[1:]]
    assert [batch.items_N.tolist() for batch in ItemEpoch(ratings, 50, (1, 3))] != resumed


def test_parts_of_a_batch_add_up_to_its_loss(world: Dataset, split: RowSplit) -> None:
    task = MultimodalTask(world, split, PRESET, CPU, seed=0)
    task.model.eval()
    whole = task.loss(next(iter(task.batches(0))))
    parts = [task.loss(next(iter(task.batches(0, Worker(rank, 2))))) for rank in range(2)]

    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), rel=1e-5)
    assert sum(float(part.weight) for part in parts) == pytest.approx(float(whole.weight))


def test_unseen_items_are_predicted_better_than_by_the_mean(
    world: Dataset, split: RowSplit, trained: tuple[Multimodal, FitResult]
) -> None:
    model, result = trained
    actual = world.events.rating[split.test]
    vectors_IE = encode_content(model, content_of(model, world))
    predicted = predict_rows(model, world, split, split.test, vectors_IE)

    of_the_mean = float(np.square(actual - world.events.rating[split.train].mean()).mean())
    assert float(np.square(actual - predicted).mean()) < 0.98 * of_the_mean
    assert result.metrics["rmse"] == pytest.approx(result.metrics["mse"] ** 0.5)


def test_validation_is_what_serving_predicts(
    world: Dataset, split: RowSplit, trained: tuple[Multimodal, FitResult]
) -> None:
    model, result = trained
    vectors_IE = encode_content(model, content_of(model, world))
    predicted = predict_rows(model, world, split, split.validation, vectors_IE)
    mse = float(np.square(world.events.rating[split.validation] - predicted).mean())
    assert result.metrics["mse"] == pytest.approx(mse, rel=1e-4)


def test_items_without_ratings_lie_near_items_of_their_genres(
    world: Dataset, split: RowSplit, trained: tuple[Multimodal, FitResult]
) -> None:
    model, _ = trained
    # The last column is the item's offset: what it is worth to everybody, not what it is like.
    tastes = torch.nn.functional.normalize(encode_content(model, content_of(model, world))[1:, :-1], dim=1).numpy()
    known, unseen = (np.unique(world.events.item[rows]) for rows in (split.train, split.test))
    genres = np.zeros((len(world.items.ids), 19))
    genres[np.arange(len(genres))[:, None], world.items.genres] = 1
    shared = genres[unseen, 1:] @ genres[known, 1:].T

    nearest = np.argsort(-(tastes[unseen] @ tastes[known].T), axis=1)[:, :5]
    assert np.take_along_axis(shared, nearest, axis=1).mean() > 1.5 * shared.mean()


def test_a_preset_without_a_modality_leaves_out_that_one_alone() -> None:
    full = MULTIMODAL_PRESETS["full"]
    for name in (*full.modalities, "region"):
        preset = MULTIMODAL_PRESETS[f"without_{name}"]
        assert {*full.modalities, *full.profile} - {*preset.modalities, *preset.profile} == {name}
        assert replace(preset, modalities=full.modalities, profile=full.profile) == full


def test_the_notebook_trains(world: Dataset, tmp_path: Path) -> None:
    preset = replace(MULTIMODAL_PRESETS["notebook"], fit=FitConfig(epochs=2, learning_rate=1e-3))
    ratings = random_split(world, (0.1, 0.1), 2024)
    model, result = train_multimodal(world, ratings, preset, tmp_path, device="cpu")
    assert model.config.form == "notebook"
    assert result.history[-1]["loss"] < result.history[0]["loss"]
