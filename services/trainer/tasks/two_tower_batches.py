"""Training batches of the two-tower model: a part of each history, a few prefixes of it, and all other likes.

Shape legend: B users, L history steps, P prefixes, I items.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import MS_PER_DAY, Dataset
from recstack.data.sequences import UserSequences
from recstack.features.batch import UserBatch
from recstack.features.schema import LIKED_FROM
from services.trainer.fit import ALONE, Worker
from services.trainer.tasks.laid_out import LaidOutEvents

NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class RetrievalBatch:
    """Users with a part of their history, the prefixes to learn from, and what the users saw and liked.

    Positions count a user's events from the first one. start_B int64: position where the shown part begins.
    visible_BP int64: steps of that part that each prefix shows. seen_at_BI int32: position of the first event with each
    item, a large number where there is none. weight_BI float32: what a like counts as a target, 1 for one at the end of
    the training period, less for older ones, 0 where there is no like. Column 0 is the unknown item.
    """

    users: UserBatch
    start_B: Tensor
    visible_BP: Tensor
    seen_at_BI: Tensor
    weight_BI: Tensor

    def to(self, device: torch.device) -> "RetrievalBatch":
        """The same batch on another device."""
        return RetrievalBatch(
            self.users.to(device),
            self.start_B.to(device),
            self.visible_BP.to(device),
            self.seen_at_BI.to(device),
            self.weight_BI.to(device),
        )


class RetrievalBatches:
    """One epoch: every user with events before `before_ms` once, in random order, with random prefixes."""

    def __init__(
        self,
        dataset: Dataset,
        sequences: UserSequences,
        before_ms: int,
        *,
        max_history: int,
        users_per_batch: int,
        prefixes_per_user: int,
        half_life_days: float,
    ) -> None:
        events = dataset.events
        self._num_items = len(dataset.items.ids)
        self._events = LaidOutEvents.of(dataset, events, sequences.events)
        self._offsets = sequences.offsets[:-1]
        self._counts = sequences.counts_before(before_ms)
        self._liked = events.rating[sequences.events] >= LIKED_FROM
        age_days = (before_ms - events.timestamp_ms[sequences.events]) / MS_PER_DAY
        self._weights = np.exp2(-np.maximum(age_days, 0.0) / half_life_days).astype(np.float32)
        self._prior = sequences.prior[sequences.events]
        self._users = np.flatnonzero(self._counts > 0)
        self._max_history = max_history
        self._users_per_batch = users_per_batch
        self._prefixes = prefixes_per_user

    def __len__(self) -> int:
        return -(-len(self._users) // self._users_per_batch)

    def epoch(self, seed: int, epoch: int, worker: Worker = ALONE) -> Iterator[RetrievalBatch]:
        """Batches decided by `seed` and `epoch` alone."""
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(self._users)
        for start in range(0, len(order), self._users_per_batch):
            yield self._batch(order[start : start + self._users_per_batch], random, worker)

    def _batch(self, users_B: NDArray[np.int64], random: np.random.Generator, worker: Worker) -> RetrievalBatch:
        """A worker's share of the batch of some users, whose draws are made for all of them first."""
        # The square makes early starts, hence long parts, more frequent.
        start_B = (self._counts[users_B] * random.random(len(users_B)) ** 2).astype(np.int64)
        length_B = np.minimum(self._counts[users_B] - start_B, self._max_history)
        drawn_BP = random.integers(0, length_B[:, None], (len(users_B), self._prefixes))
        share = worker.share(np.arange(len(users_B)))
        users_B, start_B, length_B, drawn_BP = users_B[share], start_B[share], length_B[share], drawn_BP[share]
        counts_B, offsets_B = self._counts[users_B], self._offsets[users_B]

        # Each prefix ends where an instant begins: ratings given in the same instant do not explain each other.
        moment_BP = self._prior[(offsets_B + start_B)[:, None] + drawn_BP]
        visible_BP = np.maximum(moment_BP - start_B[:, None], 0)
        visible_BP[:, 0] = 0  # one prefix is the empty history, that of a new user
        seen_at_BI, weight_BI = self._opinions(offsets_B, counts_B)
        return RetrievalBatch(
            self._events.users(users_B, offsets_B + start_B, length_B),
            torch.from_numpy(start_B),
            torch.from_numpy(visible_BP),
            torch.from_numpy(seen_at_BI),
            torch.from_numpy(weight_BI),
        )

    def _opinions(
        self, offsets_B: NDArray[np.int64], counts_B: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """[B, I+1] position of the event in which each user first saw each item, and the weight of the last like."""
        row = np.repeat(np.arange(len(counts_B)), counts_B)
        position = np.arange(len(row)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
        event = np.repeat(offsets_B, counts_B) + position
        seen_at_BI = np.full((len(counts_B), self._num_items + 1), NEVER, np.int32)
        # Written backwards, so that of several events with one item the first stays.
        seen_at_BI[row[::-1], self._events.items[event][::-1]] = position[::-1]
        weight_BI = np.zeros(seen_at_BI.shape, np.float32)
        liked = self._liked[event]
        weight_BI[row[liked], self._events.items[event[liked]]] = self._weights[event[liked]]
        return seen_at_BI, weight_BI
