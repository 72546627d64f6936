"""Ratings grouped by item and by profile, so that a training step encodes each of its items once.

The model sees of a user the profile only, so all ratings of one item by users of one profile share a prediction, and
their squared errors add up to `count · (prediction - mean)²` plus a part that no prediction changes. A million ratings
become one small matrix per step, without any approximation.

Shape legend: P profiles, N items of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset
from services.trainer.fit import ALONE, Worker


@dataclass(frozen=True, slots=True)
class RatingCells:
    """Ratings of some items.

    items_N int64: item indices, row + 1. counts_PN and means_PN float32: how many ratings the users of each profile
    gave each item, and their mean (0 where there are none). within: the ratings' squared distances from those means.
    """

    items_N: Tensor
    counts_PN: Tensor
    means_PN: Tensor
    within: float

    def to(self, device: torch.device | str) -> "RatingCells":
        """The same ratings on another device."""
        return RatingCells(self.items_N.to(device), self.counts_PN.to(device), self.means_PN.to(device), self.within)

    def squared_error(self, ratings_PN: Tensor) -> Tensor:
        """Sum of the squared errors of predictions, over all ratings of the batch."""
        return (self.counts_PN * (ratings_PN - self.means_PN).square()).sum() + self.within


class ItemRatings:
    """Chosen events of a dataset, laid out by item. `profiles_P4`: the dataset's distinct profiles."""

    def __init__(self, dataset: Dataset, rows: NDArray[np.int64]) -> None:
        """rows: rows of Events."""
        profiles, profile_of_user = np.unique(dataset.users.profiles(), axis=0, return_inverse=True)
        self.profiles_P4 = torch.from_numpy(profiles)
        events = dataset.events
        by_item = rows[np.argsort(events.item[rows], kind="stable")]
        self._profile = profile_of_user[events.user[by_item]]
        self._rating = events.rating[by_item].astype(np.float64)
        self._offsets = np.searchsorted(events.item[by_item], np.arange(len(dataset.items.ids) + 1))
        self.rated = np.flatnonzero(np.diff(self._offsets))

    def __len__(self) -> int:
        return len(self._rating)

    def cells(self, items: NDArray[np.int64]) -> RatingCells:
        """All ratings of `items` (rows of Items)."""
        sizes = self._offsets[items + 1] - self._offsets[items]
        place = np.repeat(np.arange(len(items)), sizes)
        events = np.arange(len(place)) + np.repeat(self._offsets[items] - np.cumsum(sizes) + sizes, sizes)
        cell, rating = self._profile[events] * len(items) + place, self._rating[events]
        shape = len(self.profiles_P4), len(items)
        counts = np.bincount(cell, minlength=shape[0] * shape[1])
        means = np.bincount(cell, rating, len(counts)) / np.maximum(counts, 1)
        return RatingCells(
            torch.from_numpy(items + 1),
            torch.from_numpy(counts.astype(np.float32).reshape(shape)),
            torch.from_numpy(means.astype(np.float32).reshape(shape)),
            float(np.square(rating - means[cell]).sum()),
        )


@dataclass(frozen=True, slots=True)
class ItemEpoch:
    """Every rated item once, in random order, `batch_items` at a time."""

    ratings: ItemRatings
    batch_items: int
    seed: tuple[int, int]
    worker: Worker = ALONE

    def __len__(self) -> int:
        return -(-len(self.ratings.rated) // self.batch_items)

    def __iter__(self) -> Iterator[RatingCells]:
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[RatingCells]:
        """The epoch's batches from number `batch` on."""
        order = np.random.default_rng(self.seed).permutation(self.ratings.rated)
        for start in range(batch * self.batch_items, len(order), self.batch_items):
            yield self.ratings.cells(self.worker.share(order[start : start + self.batch_items]))
