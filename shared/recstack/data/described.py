"""Reader of described datasets (`recstack.data.description`): tables to a `Dataset`."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.data.description import DatasetDescription, ItemsDescription, UsersDescription, read_description
from recstack.data.tables import id_column, milliseconds, read_table, texts
from recstack.errors import DataError
from recstack.features.schema import AGE_BANDS, GENRES, MAX_GENRES, NUM_OCCUPATIONS

_GENDERS = {"f": 1, "female": 1, "m": 2, "male": 2}
_GENRE_IDS = {genre.lower(): position + 1 for position, genre in enumerate(GENRES)}
_TITLE_AND_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)\s*")


@dataclass(frozen=True, slots=True)
class EventTable:
    """Events as they are in the file. user, item: ids; rating float32; timestamp_ms int64. All are parallel."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float32]
    timestamp_ms: NDArray[np.int64]


def read_described(path: Path) -> Dataset:
    """Read the dataset that the description at `path` describes.

    Events of users or items that their table lacks are an error. Raises DataError; `recstack data validate` finds all
    that is wrong at once.
    """
    description = read_description(path)
    table = read_events(description, path.parent)
    users = read_users(description.users, path.parent) if description.users else bare_users(np.unique(table.user))
    items = read_items(description.items, path.parent) if description.items else bare_items(np.unique(table.item))
    order = np.argsort(table.timestamp_ms, kind="stable")
    events = Events(
        _rows_of(table.user, users.ids, "user")[order],
        _rows_of(table.item, items.ids, "item")[order],
        table.rating[order],
        table.timestamp_ms[order],
    )
    counts = f"{len(users.ids):,} users, {len(items.ids):,} items, {len(events):,} events"
    return Dataset(description.name, f"{description.name}, from {path}: {counts}", users, items, events, order)


def read_events(description: DatasetDescription, base: Path) -> EventTable:
    """The table of events, in file order; DataError where a value cannot be used."""
    events, columns = description.events, description.events.columns
    table = read_table(events, base, columns.model_dump())
    if not len(table):
        raise DataError(f"{events.path} has no events")
    count = len(table)
    if columns.rating is None:
        rating = np.full(count, events.unrated_as, np.float32)
    else:
        if table["rating"].null_count:
            raise DataError(f"{events.path}: {table['rating'].null_count} events have no rating; fill or drop them")
        rating = table["rating"].cast(pa.float32()).to_numpy()
        if rating.min() < 1 or rating.max() > 5:
            raise DataError(
                f"{events.path}: ratings go from {rating.min():g} to {rating.max():g}; scale them to 1 to 5"
            )
    # Without a time the order of the file is the order of time, a second apart.
    instant = (
        milliseconds(table["time"], events.time_unit, events.path)
        if columns.time
        else np.arange(count, dtype=np.int64) * 1000
    )
    return EventTable(id_column(table, "user", events.path), id_column(table, "item", events.path), rating, instant)


def read_users(description: UsersDescription, base: Path) -> Users:
    """The table of users; values that are not understood are unknown (0)."""
    table = read_table(description, base, description.columns.model_dump())
    ids, order = _ascending(id_column(table, "id", description.path), description.path)
    columns = {
        "gender": _genders,
        "age": _ages,
        "occupation": lambda values: _occupations(values, description.occupations),
        "region": _regions,
    }
    found = {
        name: read(table[name])[order] if name in table.column_names else np.zeros(len(ids), np.uint8)
        for name, read in columns.items()
    }
    return Users(ids, **found)


def read_items(description: ItemsDescription, base: Path) -> Items:
    """The table of items; genres outside the vocabulary are dropped, and at most six are kept."""
    named = description.columns.model_dump() | {f"flag {name}": name for name in description.genre_flags}
    table = read_table(description, base, named)
    ids, order = _ascending(id_column(table, "id", description.path), description.path)
    titles = texts(table["title"]) if "title" in table.column_names else [f"Item {number}" for number in table["id"]]
    years = np.zeros(len(ids), np.int16)
    if "year" in table.column_names:
        years = np.nan_to_num(table["year"].cast(pa.float32()).to_numpy(), nan=0.0).astype(np.int16)
    else:
        for row, title in enumerate(titles):
            if dated := _TITLE_AND_YEAR.fullmatch(title):
                titles[row], years[row] = dated[1], int(dated[2])
    genres = genre_ids_of(genre_names_of(table, description))
    return Items(ids, tuple(titles[row] for row in order), years[order], genres[order])


def genre_names_of(table: pa.Table, description: ItemsDescription) -> list[list[str]]:
    """Names of each item's genres as the file has them."""
    if description.genre_flags:
        flags = np.stack([table[f"flag {name}"].to_numpy() for name in description.genre_flags], axis=1)
        return [[description.genre_flags[column] for column in np.flatnonzero(row)] for row in flags]
    if "genres" not in table.column_names:
        return [[] for _ in range(len(table))]
    column = table["genres"]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return [value or [] for value in column.to_pylist()]
    return [
        [name.strip() for name in text.split(description.genre_separator) if name.strip()] for text in texts(column)
    ]


def genre_ids_of(names: list[list[str]]) -> NDArray[np.uint8]:
    """[I, 6] uint8 genre ids, padded with 0; names that the vocabulary lacks are dropped."""
    ids = np.zeros((len(names), MAX_GENRES), np.uint8)
    for row, given in enumerate(names):
        known = [_GENRE_IDS[name.lower()] for name in given if name.lower() in _GENRE_IDS][:MAX_GENRES]
        ids[row, : len(known)] = known
    return ids


def unknown_genres(names: list[list[str]]) -> list[str]:
    """Genres that the vocabulary lacks, in alphabetical order."""
    return sorted({name for given in names for name in given if name.lower() not in _GENRE_IDS})


def bare_users(ids: NDArray[np.int64]) -> Users:
    """Users of whom only the id is known."""
    unknown = np.zeros(len(ids), np.uint8)
    return Users(ids, unknown, unknown, unknown, unknown)


def bare_items(ids: NDArray[np.int64]) -> Items:
    """Items of which only the id is known."""
    titles = tuple(f"Item {number}" for number in ids)
    return Items(ids, titles, np.zeros(len(ids), np.int16), np.zeros((len(ids), MAX_GENRES), np.uint8))


def _rows_of(ids: NDArray[np.int64], known: NDArray[np.int64], what: str) -> NDArray[np.int32]:
    rows = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    absent = np.flatnonzero(known[rows] != ids)
    if len(absent):
        raise DataError(
            f"{len(absent):,} events name {what}s that the table of {what}s lacks, for example {what} "
            f"{ids[absent[0]]}; add them, or leave the table out of the description"
        )
    return rows.astype(np.int32)


def _ascending(ids: NDArray[np.int64], path: str) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        raise DataError(f"{path}: id {repeated[0]} occurs more than once; keep one row per id")
    return ascending, order


def _genders(values: pa.ChunkedArray) -> NDArray[np.uint8]:
    return np.array([_GENDERS.get(text.strip().lower(), 0) for text in texts(values)], np.uint8)


def _ages(values: pa.ChunkedArray) -> NDArray[np.uint8]:
    years = np.nan_to_num(values.cast(pa.float32()).to_numpy(), nan=0.0)
    return np.where(years > 0, np.searchsorted(AGE_BANDS, years, side="right"), 0).astype(np.uint8)


def _occupations(values: pa.ChunkedArray, names: tuple[str, ...] | None) -> NDArray[np.uint8]:
    if names is not None:
        numbers = {name: position + 1 for position, name in enumerate(names[:NUM_OCCUPATIONS])}
        return np.array([numbers.get(text, 0) for text in texts(values)], np.uint8)
    if not pa.types.is_integer(values.type):
        raise DataError(
            f"occupation holds {values.type}, for example {values[0].as_py()!r}; list the names under `occupations`, "
            f"or give numbers from 0 to {NUM_OCCUPATIONS - 1}"
        )
    numbers_U = pc.fill_null(values, -1).to_numpy()
    return np.where((numbers_U >= 0) & (numbers_U < NUM_OCCUPATIONS), numbers_U + 1, 0).astype(np.uint8)


def _regions(values: pa.ChunkedArray) -> NDArray[np.uint8]:
    return np.array([int(text[0]) + 1 if text[:1].isdigit() else 0 for text in texts(values)], np.uint8)
