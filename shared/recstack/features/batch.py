"""Model inputs, built by the same code in the trainer and in the services.

Shape legend: B users, L history steps, I items of the catalogue. Item indices are catalogue rows + 1; 0 is
padding and "unknown".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_RATING_IDS = 6
"""Ratings as vocabulary ids: 0 for none, and 1 to 5."""


@dataclass(frozen=True, slots=True)
class History:
    """One user's interactions as columns, oldest first: item ids, epoch milliseconds, ratings (0 = none)."""

    item_ids: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    ratings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item_ids)

    def last(self, n: int) -> "History":
        """The n most recent interactions."""
        start = max(0, len(self) - n)
        return History(self.item_ids[start:], self.timestamps_ms[start:], self.ratings[start:])

    def without(self, event: int) -> "History":
        """The other interactions, in the same order. event: position from 0, the oldest."""
        return History(
            np.delete(self.item_ids, event), np.delete(self.timestamps_ms, event), np.delete(self.ratings, event)
        )


EMPTY_HISTORY = History(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class UserBatch:
    """Users as tensors. Histories are left-aligned: oldest event at 0, padding after `lengths`.

    profile_B4 int64: gender, age, occupation, region ids.
    items_BL   int64: item indices, 0 = padding or unknown.
    ratings_BL int64: 0 = padding or no rating, 1..5.
    lengths_B  int64: number of real steps (an unknown item in the middle is still a step).
    users_B    int64: user indices, rows of the trained users + 1; 0 = unknown. Only models with user ids read it.
    """

    profile_B4: Tensor
    items_BL: Tensor
    ratings_BL: Tensor
    lengths_B: Tensor
    users_B: Tensor

    def to(self, device: torch.device | str) -> "UserBatch":
        """The same batch on another device."""
        return UserBatch(
            self.profile_B4.to(device),
            self.items_BL.to(device),
            self.ratings_BL.to(device),
            self.lengths_B.to(device),
            self.users_B.to(device),
        )


def rating_ids(ratings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Ratings as vocabulary ids: 0 = none, else rounded and clipped to 1..5."""
    rounded = np.clip(np.rint(ratings), 1, 5).astype(np.int64)
    return np.where(ratings > 0, rounded, 0)


def user_batch(
    profiles: NDArray[np.int64],
    item_indices: Sequence[NDArray[np.int64]],
    ratings: Sequence[NDArray[np.float32]],
    max_length: int,
    users: NDArray[np.int64] | None = None,
) -> UserBatch:
    """Pad histories into a batch.

    profiles: [B, 4] ids. item_indices, ratings: one array per user, oldest first; only the last `max_length`
    steps are kept. L is the longest kept history, at least 1, so that models never see an empty axis. users: [B] user
    indices; all unknown when left out.
    """
    count = len(item_indices)
    lengths = np.array([min(len(row), max_length) for row in item_indices], np.int64)
    width = max(1, int(lengths.max(initial=0)))
    items_BL = np.zeros((count, width), np.int64)
    ratings_BL = np.zeros((count, width), np.int64)
    for row, length in enumerate(lengths):
        if length:
            items_BL[row, :length] = item_indices[row][-length:]
            ratings_BL[row, :length] = rating_ids(ratings[row][-length:])
    return UserBatch(
        torch.from_numpy(np.ascontiguousarray(profiles, np.int64)),
        torch.from_numpy(items_BL),
        torch.from_numpy(ratings_BL),
        torch.from_numpy(lengths),
        torch.zeros(count, dtype=torch.int64) if users is None else torch.from_numpy(users.astype(np.int64)),
    )
