"""Events laid out by user and time, from which training batches cut histories.

Shape legend: U users, N events, B rows of a batch, L history steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events
from recstack.features.batch import UserBatch, rating_ids


@dataclass(frozen=True, slots=True)
class LaidOutEvents:
    """profiles [U, 4], items [N] and rating_ids [N], all int64, in the form in which models read them."""

    profiles: NDArray[np.int64]
    items: NDArray[np.int64]
    rating_ids: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, events: Events, order: NDArray[np.int64]) -> "LaidOutEvents":
        """The rows `order` of `events`, which are events of the dataset's users and items."""
        items = events.item[order].astype(np.int64) + 1
        return cls(dataset.users.profiles(), items, rating_ids(events.rating[order]))

    def __len__(self) -> int:
        return len(self.items)

    def users(self, users_B: NDArray[np.int64], first_B: NDArray[np.int64], lengths_B: NDArray[np.int64]) -> UserBatch:
        """Model inputs of `users_B` (rows of Users), whose histories are `lengths_B` events from `first_B` on."""
        steps_L = np.arange(max(1, int(lengths_B.max(initial=0))))
        real_BL = steps_L < lengths_B[:, None]
        event_BL = np.where(real_BL, first_B[:, None] + steps_L, 0)
        return UserBatch(
            torch.from_numpy(self.profiles[users_B]),
            torch.from_numpy(np.where(real_BL, self.items[event_BL], 0)),
            torch.from_numpy(np.where(real_BL, self.rating_ids[event_BL], 0)),
            torch.from_numpy(lengths_B),
            torch.from_numpy(users_B + 1),
        )
