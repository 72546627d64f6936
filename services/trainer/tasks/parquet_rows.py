"""Training rows streamed from Parquet: events that do not fit in memory, for tasks that learn from single rows.

What is in memory at a time is one shuffle buffer and one row group. Row groups come in random order and rows are
shuffled within the buffer, so a batch mixes rows of several groups; a file that is sorted by user should therefore
have row groups that are small beside the buffer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from recstack.data.described import bare_items, bare_users, read_items, read_users
from recstack.data.description import DatasetDescription, read_description
from recstack.data.tables import is_text, table_path
from recstack.errors import DataError
from recstack.features.schema import LIKED_FROM
from services.trainer.fit import ALONE, Worker
from services.trainer.tasks.rows import RowBatch

BUFFER_ROWS = 1_000_000
"""Rows that are shuffled together: 20 MB."""

RowArrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Group:
    path: Path
    number: int
    rows: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Mean rating and share of likes; users [U+1] and items [I+1]: bool, which indices occur."""

    mean_rating: float
    like_share: float
    users: NDArray[np.bool_]
    items: NDArray[np.bool_]


class ParquetRows:
    """Events of a described dataset, streamed; implements `RowSource`.

    user_ids, item_ids: ascending ids, [U] and [I]; they are in memory, as the tables of embeddings are. Rows that are
    held out are those of the last row groups (`held_out`), in the order of the files: for events in the order of time
    that is the latest share.
    """

    def __init__(
        self,
        description: Path,
        batch_size: int,
        held_out: float = 0.02,
        buffer_rows: int = BUFFER_ROWS,
    ) -> None:
        """Read the footers of all files and, where users or items have no table, every id once.

        held_out: share of row groups, at least one, that `epoch` leaves out. Raises DataError for text files and for
        fewer than two row groups.
        """
        self._description: DatasetDescription = read_description(description)
        path = table_path(self._description.events, description.parent)
        if is_text(path):
            raise DataError(f"{path} is a text file; only Parquet can be streamed: `recstack data convert` writes it")
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        groups = [
            _Group(file, number, pq.ParquetFile(file).metadata.row_group(number).num_rows)
            for file in files
            for number in range(pq.ParquetFile(file).metadata.num_row_groups)
        ]
        if len(groups) < 2:
            raise DataError(f"{path} has {len(groups)} row groups; write it with several, so that some are held out")
        kept = min(len(groups) - 1, round(len(groups) * (1 - held_out)))
        self._groups, self._held_out = groups[:kept], groups[kept:]
        self._batch_size, self._buffer_rows = batch_size, buffer_rows
        self._ids(description.parent)

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self._description.name

    @property
    def num_rows(self) -> int:
        """Rows in an epoch."""
        return sum(group.rows for group in self._groups)

    def epoch(self, seed: int, epoch: int, worker: Worker = ALONE) -> "_StreamedEpoch":
        """`worker`'s share of every row that is not held out, once, in an order that `seed` and `epoch` decide."""
        return _StreamedEpoch(self, (seed, epoch), worker)

    def held_out(self) -> RowBatch:
        """The rows that no epoch has."""
        return _batch(tuple(map(np.concatenate, zip(*map(self.read, self._held_out), strict=True))))  # type: ignore[arg-type]

    def survey(self) -> "Survey":
        """What is known of the rows of an epoch after one pass over them."""
        users, items = np.zeros(len(self.user_ids) + 1, bool), np.zeros(len(self.item_ids) + 1, bool)
        total = likes = 0.0
        for user, item, rating in map(self.read, self._groups):
            users[user] = items[item] = True
            total += rating.sum(dtype=np.float64)
            likes += (rating >= LIKED_FROM).sum()
        return Survey(total / self.num_rows, likes / self.num_rows, users, items)

    def read(self, group: _Group) -> RowArrays:
        """User indices, item indices and ratings of a row group. DataError for an id that its table lacks."""
        events, columns = self._description.events, self._description.events.columns
        named = [name for name in (columns.user, columns.item, columns.rating) if name is not None]
        table = pq.ParquetFile(group.path).read_row_group(group.number, columns=named, use_threads=False)
        ratings = np.full(len(table), events.unrated_as, np.float32)
        if columns.rating is not None:
            ratings = table[columns.rating].to_numpy().astype(np.float32)
        return (
            _indices(table[columns.user].to_numpy(), self.user_ids, "user", group.path),
            _indices(table[columns.item].to_numpy(), self.item_ids, "item", group.path),
            ratings,
        )

    def buffers(self, seed: tuple[int, int]) -> Iterator[RowArrays]:
        """The rows of an epoch in random order, a buffer at a time."""
        random = np.random.default_rng(seed)
        waiting: list[RowArrays] = []
        count = 0
        for number in random.permutation(len(self._groups)):
            waiting.append(self.read(self._groups[number]))
            count += len(waiting[-1][2])
            if count >= self._buffer_rows:
                yield _shuffled(waiting, random)
                waiting, count = [], 0
        if waiting:
            yield _shuffled(waiting, random)

    @property
    def batch_size(self) -> int:
        """Rows in a batch of all workers together."""
        return self._batch_size

    def _ids(self, base: Path) -> None:
        users, items = self._description.users, self._description.items
        columns = self._description.events.columns
        self.user_ids = (read_users(users, base) if users else bare_users(self._distinct(columns.user))).ids
        self.item_ids = (read_items(items, base) if items else bare_items(self._distinct(columns.item))).ids

    def _distinct(self, column: str) -> NDArray[np.int64]:
        found = np.empty(0, np.int64)
        for group in self._groups + self._held_out:
            table = pq.ParquetFile(group.path).read_row_group(group.number, columns=[column], use_threads=False)
            found = np.union1d(found, table[column].to_numpy().astype(np.int64))
        return found


@dataclass(frozen=True, slots=True)
class _StreamedEpoch:
    source: ParquetRows
    seed: tuple[int, int]
    worker: Worker

    def __len__(self) -> int:
        return -(-self.source.num_rows // self.source.batch_size)

    def __iter__(self) -> Iterator[RowBatch]:
        size = self.source.batch_size
        left: RowArrays | None = None
        for buffer in self.source.buffers(self.seed):
            rows = buffer if left is None else _joined([left, buffer])
            whole = len(rows[2]) - len(rows[2]) % size
            for start in range(0, whole, size):
                yield self._share(rows, start, start + size)
            left = (rows[0][whole:], rows[1][whole:], rows[2][whole:])
        if left is not None and len(left[2]):
            yield self._share(left, 0, len(left[2]))

    def _share(self, rows: RowArrays, start: int, end: int) -> RowBatch:
        users, items, ratings = (self.worker.share(column[start:end]) for column in rows)  # type: ignore[type-var]
        return _batch((users, items, ratings))  # type: ignore[arg-type]


def _batch(rows: RowArrays) -> RowBatch:
    return RowBatch(*(torch.from_numpy(np.ascontiguousarray(column)) for column in rows))


def _joined(parts: list[RowArrays]) -> RowArrays:
    users, items, ratings = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return users, items, ratings


def _shuffled(parts: list[RowArrays], random: np.random.Generator) -> RowArrays:
    users, items, ratings = _joined(parts)
    order = random.permutation(len(ratings))
    return users[order], items[order], ratings[order]


def _indices(ids: NDArray[np.int64], known: NDArray[np.int64], what: str, path: Path) -> NDArray[np.int64]:
    rows = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    absent = np.flatnonzero(known[rows] != ids)
    if len(absent):
        raise DataError(f"{path} names {what} {ids[absent[0]]}, which the table of {what}s lacks; add it there")
    indices: NDArray[np.int64] = rows.astype(np.int64) + 1
    return indices
