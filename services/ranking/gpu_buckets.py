"""Batches of a few fixed shapes, for a GPU: which shape a batch is padded to, and where its inputs lie in one array.

Plain numpy and torch, on any device; knows nothing of CUDA. Padding changes no score: padded users have no history and
unknown profiles, padded steps lie after the history's end, padded candidates are the unknown item.

Shape legend: B users, N candidates, L history steps, of a bucket.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recstack.features.batch import UserBatch
from recstack.features.schema import PROFILE_SIZES
from recstack.models.blend import Users

PROFILE = len(PROFILE_SIZES)


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shape that a batch is padded to."""

    users: int
    candidates: int
    history: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Sizes that batches are padded to, ascending. Each combination is a bucket; what is larger has none.

    Between two sizes padding at most doubles or triples the work, which on a GPU costs less than it sounds: batches
    this small leave most of it idle.
    """

    users: tuple[int, ...] = (1, 4, 16, 32)
    candidates: tuple[int, ...] = (128, 512, 1024, 2048)
    history: tuple[int, ...] = (50, 200)

    def all(self, max_history: int) -> list[Bucket]:
        """Every bucket for models that read at most `max_history` events, largest first."""
        sizes = product(self.users, self.candidates, self._steps(max_history))
        return sorted((Bucket(*one) for one in sizes), reverse=True)

    def fit(self, users: int, candidates: int, history: int, max_history: int) -> Bucket | None:
        """The smallest bucket for such a batch, None when it is larger than all. history: the longest one."""
        steps = self._steps(max_history)
        wanted = ((self.users, users), (self.candidates, candidates), (steps, min(history, max_history)))
        sizes = [next((size for size in offered if size >= asked), 0) for offered, asked in wanted]
        return Bucket(*sizes) if all(sizes) else None

    def _steps(self, max_history: int) -> list[int]:
        return sorted({min(size, max(1, max_history)) for size in self.history})


class Layout:
    """Where a bucket's inputs lie in one row of int64, so that one copy brings a batch to the device.

    lengths: the different numbers of history events that models read, see `Blend.history_lengths`.
    """

    def __init__(self, bucket: Bucket, lengths: Sequence[int]) -> None:
        self.bucket = bucket
        self._lengths = list(lengths)
        self._sections: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.size = 0
        self._add("candidates", bucket.users, bucket.candidates)
        self._add("profile", bucket.users, PROFILE)
        self._add("users", bucket.users)
        for length in self._lengths:
            steps = max(1, min(length, bucket.history))
            self._add(f"items {length}", bucket.users, steps)
            self._add(f"ratings {length}", bucket.users, steps)
            self._add(f"lengths {length}", bucket.users)

    def pack(self, row: NDArray[np.int64], users: Users, candidates: Sequence[NDArray[np.int64]]) -> None:
        """Write a batch that fits the bucket into `row`, int64 [size], and padding around it."""
        row[: self.size] = 0
        lists_BN = self._section(row, "candidates")
        for list_N, chosen in zip(lists_BN, candidates, strict=False):
            list_N[: len(chosen)] = chosen
        count = len(users.indices)
        self._section(row, "profile")[:count] = users.profiles
        self._section(row, "users")[:count] = users.indices
        for length in self._lengths:
            batch = users.batch(length)
            steps = batch.items_BL.shape[1]
            self._section(row, f"items {length}")[:count, :steps] = batch.items_BL.numpy()
            self._section(row, f"ratings {length}")[:count, :steps] = batch.ratings_BL.numpy()
            self._section(row, f"lengths {length}")[:count] = batch.lengths_B.numpy()

    def unpack(self, row: Tensor) -> tuple[Mapping[int, UserBatch], Tensor]:
        """Views into `row`: the users by how many events are read, and their candidates [B, N]."""
        profile_B4, users_B = self._view(row, "profile"), self._view(row, "users")
        batches = {
            length: UserBatch(
                profile_B4,
                self._view(row, f"items {length}"),
                self._view(row, f"ratings {length}"),
                self._view(row, f"lengths {length}"),
                users_B,
            )
            for length in self._lengths
        }
        return batches, self._view(row, "candidates")

    def _add(self, name: str, *shape: int) -> None:
        self._sections[name] = (self.size, shape)
        self.size += int(np.prod(shape))

    def _section(self, row: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        start, shape = self._sections[name]
        return row[start : start + int(np.prod(shape))].reshape(shape)

    def _view(self, row: Tensor, name: str) -> Tensor:
        start, shape = self._sections[name]
        return row[start : start + int(np.prod(shape))].view(shape)
