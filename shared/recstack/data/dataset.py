"""The in-memory form of a dataset that every reader yields and the trainer takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MS_PER_DAY = 86_400_000
"""Timestamps are epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Users:
    """Users in ascending id order. Profile columns are vocabulary ids (see `recstack.features.schema`)."""

    ids: NDArray[np.int64]
    gender: NDArray[np.uint8]
    age: NDArray[np.uint8]
    occupation: NDArray[np.uint8]
    region: NDArray[np.uint8]

    def profiles(self) -> NDArray[np.int64]:
        """[U, 4] int64: gender, age, occupation, region."""
        return np.stack([self.gender, self.age, self.occupation, self.region], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Items:
    """Items in ascending id order. `genres` is [I, 6] uint8, padded with 0; `years` is 0 where unknown.

    poster_folder: where `<item id>.jpg` are, for the items that have one; see `recstack.data.posters`.
    """

    ids: NDArray[np.int64]
    titles: tuple[str, ...]
    years: NDArray[np.int16]
    genres: NDArray[np.uint8]
    poster_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """Ratings in time order (stable: ties keep file order). `user` and `item` are row numbers in Users and Items."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    rating: NDArray[np.float32]
    timestamp_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Users, items and events, with a line that says where they came from.

    file_row: [N] int64, the row of the source file that each event was, where it came from one. Published random
    splits are permutations of file rows.
    """

    name: str
    provenance: str
    users: Users
    items: Items
    events: Events
    file_row: NDArray[np.int64] | None = None
