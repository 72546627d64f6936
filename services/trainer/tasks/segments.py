"""Training examples of rankers: segments of users' histories, so that one pass over a history serves many targets.

A segment is a window of a user's events; its last events are targets, the events before each target its history. The
encoder reads the window once from a zero state, and a target sees what precedes it (strictly earlier timestamps
only): what the served model computes for a history that begins where the window begins.

Shape legend: B segments, L history steps, T targets of a segment.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.features.batch import UserBatch
from recstack.features.schema import LIKED_FROM
from services.trainer.fit import ALONE, Worker
from services.trainer.tasks.laid_out import LaidOutEvents


@dataclass(frozen=True, slots=True)
class SegmentBatch:
    """Segments as tensors. `users` holds one row per segment.

    targets_BT int64 item indices, 0 = padding; visible_BT int64, history steps that a target may see, -1 = padding;
    labels_BT float32, 1 = liked; weights_BT float32, 0 = padding.
    """

    users: UserBatch
    targets_BT: Tensor
    visible_BT: Tensor
    labels_BT: Tensor
    weights_BT: Tensor

    def to(self, device: torch.device | str) -> "SegmentBatch":
        """The same batch on another device."""
        return SegmentBatch(
            self.users.to(device),
            self.targets_BT.to(device),
            self.visible_BT.to(device),
            self.labels_BT.to(device),
            self.weights_BT.to(device),
        )


def liked(ratings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Labels of ratings: 1 where the user liked the item."""
    return (ratings >= LIKED_FROM).astype(np.float32)


class SegmentEpoch:
    """One epoch's segments in batches of about `batch_targets` targets, some a segment more or less.

    Each event of `events` is a target once. Windows have up to `max_history` events; the later half of a window is
    its targets, and in a user's first window all events are. Where windows begin is drawn anew for every epoch, so
    that a target meets histories of different lengths. Segments of like length are batched together, which saves most
    of the padding; which ones, and the batches' order, is random.
    """

    def __init__(self, data: "SegmentData", batch_targets: int, seed: tuple[int, ...], worker: Worker = ALONE) -> None:
        rng = np.random.default_rng(seed)
        stride, counts = data.stride, data.counts
        shifts = rng.integers(0, stride, len(counts))
        segments_per_user = np.where(counts > 0, -(-(counts + shifts) // stride), 0)
        users = np.repeat(np.arange(len(counts)), segments_per_user)
        number = np.arange(len(users)) - np.repeat(np.cumsum(segments_per_user) - segments_per_user, segments_per_user)
        first_target = number * stride - shifts[users]
        window_start = np.maximum(first_target - stride, 0)
        end = np.minimum(first_target + stride, counts[users])
        first_target = np.maximum(first_target, 0)
        targets = end - first_target
        order = rng.permutation(len(users))
        order = order[np.lexsort((end[order] - window_start[order], targets[order]))]
        num_batches = max(1, int(targets.sum()) // batch_targets)
        batch = np.minimum((np.cumsum(targets[order]) - 1) // batch_targets, num_batches - 1)
        batches = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
        self._data = data
        self._worker = worker
        self._user, self._window_start, self._first_target, self._end = users, window_start, first_target, end
        self._batches = [batches[number] for number in rng.permutation(len(batches))]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[SegmentBatch]:
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[SegmentBatch]:
        """The batches from number `batch` on, without making those before."""
        for segments in self._batches[batch:]:
            rows = self._worker.share(segments)
            yield self._data.gather(
                self._user[rows], self._window_start[rows], self._first_target[rows], self._end[rows]
            )


class SegmentData:
    """Users' events laid out by user and time, ready to be cut into segments."""

    def __init__(self, dataset: Dataset, events: Events, max_history: int) -> None:
        """`events` are the training events, in time order."""
        sequences = UserSequences.build(events, len(dataset.users.ids))
        by_user = sequences.events
        self.stride = max(1, max_history // 2)
        self.counts = np.diff(sequences.offsets)
        self._offsets = sequences.offsets
        self._events = LaidOutEvents.of(dataset, events, by_user)
        self._labels = liked(events.rating[by_user])
        self._prior = sequences.prior[by_user]

    def gather(
        self,
        user: NDArray[np.int64],
        window_start: NDArray[np.int64],
        first_target: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> SegmentBatch:
        """Segments of `user`'s events: history from `window_start`, targets from `first_target` to before `end`."""
        lengths = end - 1 - window_start
        within = first_target[:, None] + np.arange(int((end - first_target).max()))
        asked = within < end[:, None]
        targets = np.minimum(self._offsets[user][:, None] + within, len(self._events) - 1)
        visible = np.maximum(self._prior[targets] - window_start[:, None], 0)
        return SegmentBatch(
            self._events.users(user, self._offsets[user] + window_start, lengths),
            torch.from_numpy(np.where(asked, self._events.items[targets], 0)),
            torch.from_numpy(np.where(asked, visible, -1)),
            torch.from_numpy(self._labels[targets]),
            torch.from_numpy(asked.astype(np.float32)),
        )
