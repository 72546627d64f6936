"""Training batches of the next-event two-tower: windows of histories, of like length, with the event after each step.

Shape legend: B users (windows), L steps of the longest window, P = L + 1 states.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.features.batch import UserBatch
from services.trainer.fit import ALONE, Worker
from services.trainer.tasks.laid_out import LaidOutEvents

WINDOWS_PER_POOL = 2000
"""Windows among which those of like length are put together: enough for little padding, few enough for chance."""


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows of histories as users. State k of a window is the user after its first k steps, k = 0..L.

    targets_BP int64: item index of the event after each state, 0 where there is none or another window has it.
    """

    users: UserBatch
    targets_BP: Tensor

    def to(self, device: torch.device) -> "WindowBatch":
        """The same batch on another device."""
        return WindowBatch(self.users.to(device), self.targets_BP.to(device))


class TrainingSequences:
    """Each user's training events in time order. offsets [U + 1] int64: where each user's begin in `events`."""

    def __init__(self, dataset: Dataset, train: NDArray[np.int64]) -> None:
        events = dataset.events
        by_user = UserSequences.build(events, len(dataset.users.ids)).events
        rows = by_user[np.isin(by_user, train)]
        self.events = LaidOutEvents.of(dataset, events, rows)
        counts = np.bincount(events.user[rows], minlength=len(dataset.users.ids))
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class WindowEpoch:
    """Every training event is a target once: histories are cut into windows anew, and windows put into batches.

    max_history: most steps of a window; a longer history's first window has a random length, so that over the epochs
    an event is seen with contexts of all lengths. states_per_batch: states of a batch, padding included.
    """

    def __init__(
        self,
        sequences: TrainingSequences,
        *,
        max_history: int,
        states_per_batch: int,
        seed: int,
        epoch: int,
        worker: Worker = ALONE,
    ) -> None:
        self._sequences, self._worker = sequences, worker
        random = np.random.default_rng([seed, epoch])
        windows_W3 = random.permutation(_windows(np.diff(sequences.offsets), max_history, random))
        batches = []
        for start in range(0, len(windows_W3), WINDOWS_PER_POOL):
            pool = windows_W3[start : start + WINDOWS_PER_POOL]
            batches += _batches_of(pool[np.argsort(pool[:, 2], kind="stable")], states_per_batch)
        self._batches = [batches[position] for position in random.permutation(len(batches))]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[WindowBatch]:
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[WindowBatch]:
        """The batches from number `batch` on."""
        for windows_B3 in self._batches[batch:]:
            chosen = self._worker.share(np.arange(len(windows_B3)))
            yield self._batch(*windows_B3[chosen].T)

    def _batch(
        self, users_B: NDArray[np.int64], start_B: NDArray[np.int64], length_B: NDArray[np.int64]
    ) -> WindowBatch:
        events, first_B = self._sequences.events, self._sequences.offsets[users_B] + start_B
        users = events.users(users_B, first_B, length_B)
        steps_P = np.arange(users.items_BL.shape[1] + 1)
        has_target_BP = steps_P <= length_B[:, None]
        # A window's first state has all of the window before it to learn from only where a history begins.
        has_target_BP[:, 0] &= start_B == 0
        event_BP = np.where(has_target_BP, first_B[:, None] + steps_P, 0)
        targets_BP = np.where(has_target_BP, events.items[event_BP], 0)
        return WindowBatch(users, torch.from_numpy(targets_BP))


def _windows(counts_U: NDArray[np.int64], max_history: int, random: np.random.Generator) -> NDArray[np.int64]:
    """[W, 3] user, first event and number of steps of each window; the event after the last step is a target too."""
    users = np.flatnonzero(counts_U > 0)
    inputs = counts_U[users] - 1  # the last event is a target only
    first = np.where(inputs <= max_history, inputs, random.integers(1, max_history + 1, len(users)))
    further = -(-(inputs - first) // max_history)
    row = np.repeat(np.arange(len(users)), 1 + further)
    number = np.arange(len(row)) - np.repeat(np.cumsum(1 + further) - (1 + further), 1 + further)
    start = np.where(number == 0, 0, first[row] + (number - 1) * max_history)
    length = np.minimum(np.where(number == 0, first[row], max_history), inputs[row] - start)
    return np.stack([users[row], start, length], axis=1)


def _batches_of(windows_W3: NDArray[np.int64], states_per_batch: int) -> list[NDArray[np.int64]]:
    """Windows in ascending order of length, cut where a batch would have more than `states_per_batch` states."""
    batches, first = [], 0
    for position, length in enumerate(windows_W3[:, 2]):
        if position > first and (position + 1 - first) * (length + 1) > states_per_batch:
            batches.append(windows_W3[first:position])
            first = position
    return [*batches, windows_W3[first:]]
