"""Single ratings as training examples of the DCN, each with its user's profile and, where it is read, history.

Shape legend: B rows, L history steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit
from recstack.features.batch import UserBatch
from services.trainer.fit import ALONE, Worker
from services.trainer.tasks.history_at import HistoryAt, events_at
from services.trainer.tasks.laid_out import LaidOutEvents


@dataclass(frozen=True, slots=True)
class ExampleBatch:
    """Rated pairs. users: a user per row, known before the rating; items_B, rating_ids_B int64. remembered: the rows
    (of TrainingRows) that may be known while these are predicted; the same array for all batches of a fold."""

    users: UserBatch
    items_B: Tensor
    rating_ids_B: Tensor
    remembered: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items_B)

    def to(self, device: torch.device | str) -> "ExampleBatch":
        """The same rows on another device."""
        return ExampleBatch(
            self.users.to(device), self.items_B.to(device), self.rating_ids_B.to(device), self.remembered
        )


class TrainingRows:
    """The training rows of a split, laid out by user and time.

    A row's history is what `predict_rows` gives it too: its user's training events with a strictly earlier timestamp.
    """

    def __init__(self, dataset: Dataset, split: RowSplit, max_history: int) -> None:
        events = events_at(dataset, split.train)
        by_user = UserSequences.build(events, len(dataset.users.ids))
        order = by_user.events
        self._events = LaidOutEvents.of(dataset, events, order)
        self.users = events.user[order].astype(np.int64) + 1
        self.items, self.rating_ids = self._events.items, self._events.rating_ids
        self._starts = by_user.offsets[self.users - 1]
        self._seen = HistoryAt(dataset, split).ends(split.train[order])
        self._max_history = max_history

    def __len__(self) -> int:
        return len(self.users)

    def gather(self, rows: NDArray[np.int64], remembered: NDArray[np.int64]) -> ExampleBatch:
        """Rows of this layout as a batch."""
        lengths = np.minimum(self._seen[rows], self._max_history)
        first = self._starts[rows] + self._seen[rows] - lengths
        users = self._events.users(self.users[rows] - 1, first, lengths)
        items_B, rating_ids_B = torch.from_numpy(self.items[rows]), torch.from_numpy(self.rating_ids[rows])
        return ExampleBatch(users, items_B, rating_ids_B, remembered)


class RowEpoch:
    """One epoch's rows in random order, in batches of up to `batch_size`; some of them by unknown users.

    folds: parts of the rows, drawn anew for each epoch; while a part is predicted, only the others may be remembered.
    With one fold nothing is. user_dropout: share of rows whose user is made unknown, so that a model with user ids
    learns what to say without.
    """

    def __init__(
        self,
        rows: TrainingRows,
        batch_size: int,
        folds: int,
        user_dropout: float,
        seed: tuple[int, ...],
        worker: Worker = ALONE,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._folds = np.array_split(rng.permutation(len(rows)), folds)
        self._unknown = torch.from_numpy(rng.random(len(rows)) < user_dropout)
        self._rows, self._batch_size, self._worker = rows, batch_size, worker

    def __len__(self) -> int:
        return sum(-(-len(fold) // self._batch_size) for fold in self._folds)

    def __iter__(self) -> Iterator[ExampleBatch]:
        for fold in self._folds:
            remembered = np.setdiff1d(np.arange(len(self._rows)), fold, assume_unique=True)
            for start in range(0, len(fold), self._batch_size):
                chosen = self._worker.share(fold[start : start + self._batch_size])
                batch = self._rows.gather(chosen, remembered)
                batch.users.users_B.masked_fill_(self._unknown[chosen], 0)
                yield batch
