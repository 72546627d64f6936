"""Single ratings as training batches, for models that learn from (user, item, rating) alone.

A task asks a `RowSource` for an epoch and does not learn where the rows come from, so that data which does not fit in
memory can be streamed to the same task.

Shape legend: B rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset
from services.trainer.fit import ALONE, Batches, Worker


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rated pairs. users_B, items_B int64: row + 1, 0 = unknown. ratings_B float32, as given by the users."""

    users_B: Tensor
    items_B: Tensor
    ratings_B: Tensor

    def __len__(self) -> int:
        return len(self.ratings_B)

    def to(self, device: torch.device | str) -> "RowBatch":
        """The same rows on another device."""
        return RowBatch(self.users_B.to(device), self.items_B.to(device), self.ratings_B.to(device))


class RowSource(Protocol):
    """Where a task's training rows come from."""

    @property
    def num_rows(self) -> int:
        """Rows in an epoch, those of all workers together."""
        ...

    def epoch(self, seed: int, epoch: int, worker: Worker = ALONE) -> Batches[RowBatch]:
        """`worker`'s share of every row once, in an order that `seed` and `epoch` decide."""
        ...


class InMemoryRows:
    """Chosen events of a dataset, shuffled anew for each epoch; implements `RowSource`."""

    def __init__(self, dataset: Dataset, rows: NDArray[np.int64], batch_size: int) -> None:
        """rows: rows of Events. batch_size: rows in a batch of all workers together."""
        events = dataset.events
        self._rows = RowBatch(
            torch.from_numpy(events.user[rows].astype(np.int64) + 1),
            torch.from_numpy(events.item[rows].astype(np.int64) + 1),
            torch.from_numpy(events.rating[rows]),
        )
        self._batch_size = batch_size

    @property
    def num_rows(self) -> int:
        """Rows in an epoch."""
        return len(self._rows)

    def all(self) -> RowBatch:
        """Every row, in the order of the dataset."""
        return self._rows

    def epoch(self, seed: int, epoch: int, worker: Worker = ALONE) -> "_ShuffledEpoch":
        """`worker`'s share of every row once, in random order."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self._rows))
        return _ShuffledEpoch(self._rows, order, self._batch_size, worker)


@dataclass(frozen=True, slots=True)
class _ShuffledEpoch:
    rows: RowBatch
    order: NDArray[np.int64]
    batch_size: int
    worker: Worker

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[RowBatch]:
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[RowBatch]:
        """The batches from number `batch` on, without making those before."""
        for start in range(batch * self.batch_size, len(self.order), self.batch_size):
            chosen = torch.from_numpy(self.worker.share(self.order[start : start + self.batch_size]))
            yield RowBatch(self.rows.users_B[chosen], self.rows.items_B[chosen], self.rows.ratings_B[chosen])
