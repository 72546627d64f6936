"""The item catalogue of a bundle: id map, item features, popularity. Immutable; shared by models and services."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FIRST_YEAR = 1900
YEARS_PER_BUCKET = 3
NUM_YEAR_BUCKETS = 64


def year_buckets(years: NDArray[np.int16]) -> NDArray[np.int64]:
    """Three-year buckets 1..63; 0 where the year is unknown (<= 0)."""
    bucket = np.clip((years.astype(np.int64) - FIRST_YEAR) // YEARS_PER_BUCKET + 1, 1, NUM_YEAR_BUCKETS - 1)
    return np.where(years > 0, bucket, 0)


@dataclass(frozen=True, slots=True)
class ItemTable:
    """Item features as tensors with the unknown item at row 0: year buckets [I+1], genre ids [I+1, 6], both int64."""

    year_bucket: Tensor
    genres: Tensor

    def __len__(self) -> int:
        return len(self.year_bucket)

    def to(self, device: torch.device | str) -> "ItemTable":
        """The same table on another device."""
        return ItemTable(self.year_bucket.to(device), self.genres.to(device))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items in ascending id order. Item index = row + 1; index 0 is the unknown item.

    ids [I] int64; years [I] int16 (0 unknown); genres [I, 6] uint8 (0 padding); popularity [I] float32
    (time-decayed interactions, higher is more popular).
    """

    ids: NDArray[np.int64]
    years: NDArray[np.int16]
    genres: NDArray[np.uint8]
    popularity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, item_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Item index of each id; 0 for ids that are not in the catalogue."""
        rows = np.searchsorted(self.ids, item_ids)
        rows = np.minimum(rows, len(self.ids) - 1)
        return np.where(self.ids[rows] == item_ids, rows + 1, 0).astype(np.int64)

    def item_table(self) -> ItemTable:
        """Item features as tensors, unknown item first."""
        genres = np.concatenate([np.zeros((1, self.genres.shape[1]), np.uint8), self.genres])
        years = np.concatenate([np.zeros(1, np.int16), self.years])
        return ItemTable(torch.from_numpy(year_buckets(years)), torch.from_numpy(genres.astype(np.int64)))

    def save(self, path: Path) -> None:
        """Write as an .npz file."""
        np.savez(path, ids=self.ids, years=self.years, genres=self.genres, popularity=self.popularity)

    @classmethod
    def load(cls, path: Path) -> "Catalogue":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as columns:
            return cls(columns["ids"], columns["years"], columns["genres"], columns["popularity"])
