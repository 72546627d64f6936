"""Every kind of fault that `recstack data validate` looks for is found, and a clean dataset has none of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recstack.data import Dataset, synthetic_world
from recstack.data.parquet import write_parquet
from recstack.data.validation import Severity
from recstack.data.validation_files import validate_described


@pytest.fixture(scope="module")
def world() -> Dataset:
    return synthetic_world(seed=6, users=100, items=120, events=4_000)


def findings(path: Path) -> dict[tuple[str, str], str]:
    return {(found.severity, found.where): found.message for found in validate_described(path)}


def change(path: Path, table: str, **columns: object) -> None:
    file = path.parent / f"{table}.parquet"
    content = pq.read_table(file)
    for name, values in columns.items():
        if name in content.column_names:
            content = content.drop_columns([name])
        content = content.append_column(name, pa.array(values))
    pq.write_table(content, file)


def test_a_clean_dataset_has_neither_errors_nor_warnings(world: Dataset, tmp_path: Path) -> None:
    assert not [found for found in validate_described(write_parquet(world, tmp_path)) if found.severity != "note"]


def test_copies_of_events_are_counted(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    events = pq.read_table(tmp_path / "events.parquet")
    pq.write_table(pa.concat_tables([events, events.slice(10, 3)]), tmp_path / "events.parquet")
    assert findings(path)[Severity.WARNING, "events"].startswith("3 events repeat another one")


def test_events_before_their_item_and_in_the_future_are_found(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    times = world.events.timestamp_ms.copy()
    times[-2:] = 4_000_000_000_000
    change(path, "events", time=pa.array(times, pa.timestamp("ms")))
    change(path, "items", year=np.full(len(world.items.ids), 2090))
    found = findings(path)
    assert found[Severity.ERROR, "events.time"] == "2 events lie in the future"
    assert "precede the year of their item" in found[Severity.WARNING, "events.time"]


def test_times_in_the_wrong_unit_are_suspected(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    path.write_text(path.read_text().replace("path: events.parquet", "path: events.parquet\n  time_unit: ms"))
    change(path, "events", time=world.events.timestamp_ms // 1000)
    assert "before 1990" in findings(path)[Severity.WARNING, "events.time"]


def test_unknown_ids_are_counted_and_the_rest_is_still_checked(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    items = pq.read_table(tmp_path / "items.parquet")
    pq.write_table(items.slice(2), tmp_path / "items.parquet")
    found = findings(path)
    assert found[Severity.ERROR, "events.item"].startswith("2 item ids are not in the table")
    assert (Severity.NOTE, "events") in found


def test_constant_columns_are_told_from_absent_ones(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    change(path, "events", rating=np.full(len(world.events), 4.0))
    change(path, "users", gender=pa.nulls(len(world.users.ids), pa.string()), age=np.full(len(world.users.ids), 30))
    found = findings(path)
    assert found[Severity.WARNING, "events.rating"] == "has the same value in every row (4)"
    assert found[Severity.NOTE, "users.gender"] == "is not given"
    assert (Severity.WARNING, "users.age") in found


def test_columns_that_give_the_outcome_away_are_suspects(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    random = np.random.default_rng(0)
    means = np.bincount(world.events.item, weights=world.events.rating, minlength=len(world.items.ids))
    counts = np.bincount(world.events.item, minlength=len(world.items.ids))
    change(path, "events", thumbs=(world.events.rating >= 4).astype(int), noise=random.random(len(world.events)))
    change(path, "items", stars=means / np.maximum(counts, 1), views=counts * 10, shelf=random.random(len(counts)))
    suspects = {where for (severity, where) in findings(path) if severity == Severity.WARNING}
    assert suspects == {"events.thumbs", "items.stars", "items.views"}


def test_what_the_reader_cannot_use_is_an_error_beside_other_findings(world: Dataset, tmp_path: Path) -> None:
    path = write_parquet(world, tmp_path)
    change(path, "events", rating=np.zeros(len(world.events)))
    change(path, "items", genres=[["Comedy", "Krimi"]] * len(world.items.ids))
    found = findings(path)
    assert "scale them to 1 to 5" in found[Severity.ERROR, "events"]
    assert "1 genres are not in RecStack's vocabulary and are dropped: Krimi" in found[Severity.WARNING, "items.genres"]
