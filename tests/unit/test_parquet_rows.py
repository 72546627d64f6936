"""Streamed rows: each once, shuffled, the same for any number of workers, and a model learns from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recstack.data import Dataset, RowSplit, synthetic_world
from recstack.data.parquet import write_parquet
from recstack.errors import DataError
from services.trainer.fit import Worker
from services.trainer.tasks.parquet_rows import ParquetRows
from services.trainer.tasks.rows import RowBatch
from services.trainer.tasks.simple_cf import SIMPLE_CF_PRESETS, train_simple_cf
from services.trainer.tasks.simple_cf_streamed import train_simple_cf_streamed


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=7, users=80, items=90, events=3_000)


@pytest.fixture
def path(world: Dataset, tmp_path: Path) -> Path:
    written = write_parquet(world, tmp_path)
    events = tmp_path / "events.parquet"
    pq.write_table(pq.read_table(events), events, row_group_size=250)
    return written


def rows_of(batches: list[RowBatch]) -> list[tuple[int, int, float]]:
    return [
        row
        for batch in batches
        for row in zip(batch.users_B.tolist(), batch.items_B.tolist(), batch.ratings_B.tolist(), strict=True)
    ]


def test_every_row_that_is_not_held_out_comes_once(world: Dataset, path: Path) -> None:
    source = ParquetRows(path, batch_size=64, held_out=0.1, buffer_rows=600)
    batches = list(source.epoch(0, 0))
    assert [len(batch) for batch in batches[:-1]] == [64] * (len(batches) - 1)
    assert len(batches) == len(source.epoch(0, 0))
    events, kept = world.events, source.num_rows
    expected = list(zip((events.user + 1).tolist(), (events.item + 1).tolist(), events.rating.tolist(), strict=True))
    assert kept == 2_750
    assert sorted(rows_of(batches)) == sorted(expected[:kept])
    assert rows_of([source.held_out()]) == expected[kept:]
    survey = source.survey()
    assert survey.mean_rating == pytest.approx(events.rating[:kept].mean(), rel=1e-5)
    assert survey.like_share == pytest.approx((events.rating[:kept] >= 4).mean())
    np.testing.assert_array_equal(np.flatnonzero(survey.users), np.unique(events.user[:kept]) + 1)
    np.testing.assert_array_equal(np.flatnonzero(survey.items), np.unique(events.item[:kept]) + 1)


def test_epochs_differ_and_the_same_epoch_is_the_same(path: Path) -> None:
    source = ParquetRows(path, batch_size=64, buffer_rows=600)
    first, again, second = (rows_of(list(source.epoch(0, epoch))) for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)
    assert first[:64] != sorted(first[:64])


def test_workers_share_each_batch(path: Path) -> None:
    source = ParquetRows(path, batch_size=64, buffer_rows=600)
    whole = list(source.epoch(3, 1))
    shares = [list(source.epoch(3, 1, Worker(rank, 2))) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(rows_of([batch])) == sorted(rows_of([first, second]))


def test_ids_are_found_where_there_are_no_tables(world: Dataset, path: Path) -> None:
    path.write_text("name: bare\nevents: {path: events.parquet, columns: {rating: rating, time: time}}")
    source = ParquetRows(path, batch_size=64)
    np.testing.assert_array_equal(source.user_ids, world.users.ids[np.unique(world.events.user)])
    assert rows_of(list(source.epoch(0, 0)))


def test_what_cannot_be_streamed_is_named(path: Path) -> None:
    events = path.parent / "events.parquet"
    pq.write_table(pq.read_table(events), events)
    with pytest.raises(DataError, match="1 row groups"):
        ParquetRows(path, batch_size=64)
    (path.parent / "events.csv").write_text("user_id,item_id\n")
    path.write_text("name: text\nevents: {path: events.csv, columns: {}}")
    with pytest.raises(DataError, match="recstack data convert"):
        ParquetRows(path, batch_size=64)


def test_simple_cf_learns_from_a_stream_what_it_learns_in_memory(world: Dataset, path: Path, tmp_path: Path) -> None:
    source = ParquetRows(path, batch_size=128, held_out=0.1, buffer_rows=600)
    quick = SIMPLE_CF_PRESETS["quick"]
    preset = replace(quick, batch_rows=128, factors=8, fit=replace(quick.fit, epochs=8, weight_decay=0.1))
    streamed, result = train_simple_cf_streamed(source, preset, tmp_path / "streamed", console=Console(quiet=True))
    rows = np.arange(len(world.events), dtype=np.int64)
    split = RowSplit(rows[: source.num_rows], rows[source.num_rows :], rows[:0], temporal=True)
    _, in_memory = train_simple_cf(world, split, preset, tmp_path / "memory", console=Console(quiet=True))
    assert result.metrics["rmse"] == pytest.approx(in_memory.metrics["rmse"], rel=0.03)
    assert result.history[-1]["loss"] < 0.9 * result.history[0]["loss"]
    assert streamed.config.num_users == len(world.users.ids)
