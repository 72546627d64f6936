"""Whom retrieval is judged on: users with likes after an instant, what was known of them before it, and those likes.

Shape legend: Q cases (users), I items of the catalogue.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.errors import DataError
from recstack.features.batch import UserBatch, user_batch
from recstack.features.schema import LIKED_FROM


@dataclass(frozen=True, slots=True)
class RetrievalCases:
    """One case per user who liked something unseen in a window of time, in ascending user order.

    users [Q] int64: rows of Users. profiles [Q, 4] int64.
    histories: per case, rows of Events before the window, oldest first (empty for a user who is new).
    truth [Q, I] boolean matrix: unseen items that the user liked in the window. seen [Q, I]: items in the history.
    """

    events: Events
    users: NDArray[np.int64]
    profiles: NDArray[np.int64]
    histories: tuple[NDArray[np.int64], ...]
    seen: csr_matrix
    truth: csr_matrix

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def build(cls, dataset: Dataset, sequences: UserSequences, window: slice) -> "RetrievalCases":
        """Cases of a window of Events rows, for example a period of `TemporalSplit`.

        Raises DataError when nobody liked anything unseen in it.
        """
        events, num_items = dataset.events, len(dataset.items.ids)
        known = sequences.counts_before(int(events.timestamp_ms[window.start]))
        liked = np.arange(window.start, window.stop)[events.rating[window] >= LIKED_FROM]
        users = np.unique(events.user[liked]).astype(np.int64)
        histories = [sequences.of(user)[: known[user]] for user in users]
        seen = _matrix(
            np.repeat(users, known[users]),
            events.item[np.concatenate([*histories, []]).astype(np.int64)],
            users,
            num_items,
        )
        truth = _matrix(events.user[liked], events.item[liked], users, num_items)
        truth = truth - truth.multiply(seen)
        truth.eliminate_zeros()
        kept = np.diff(truth.indptr) > 0
        if not kept.any():
            raise DataError(
                f"no user liked an unseen item in rows {window.start} to {window.stop}; use a longer window"
            )
        return cls(
            events,
            users[kept],
            dataset.users.profiles()[users[kept]],
            tuple(rows for rows, keep in zip(histories, kept, strict=True) if keep),
            seen[kept],
            truth[kept],
        )

    @property
    def warm(self) -> NDArray[np.bool_]:
        """[Q] whether the user has a history."""
        return np.array([len(rows) > 0 for rows in self.histories], np.bool_)

    def user_batch(self, chosen: slice | NDArray[np.int64], max_length: int) -> UserBatch:
        """Model input of some cases: what the services would build from the last `max_length` events."""
        rows = [self.histories[case] for case in np.arange(len(self))[chosen]]
        return user_batch(
            self.profiles[chosen],
            [self.events.item[row].astype(np.int64) + 1 for row in rows],
            [self.events.rating[row] for row in rows],
            max_length,
            self.users[chosen] + 1,
        )

    def liked_of(self, items_QC: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[Q, C] which of each case's candidates (rows of Items) are true."""
        found: NDArray[np.bool_] = self.truth[np.arange(len(self))[:, None], items_QC].toarray() > 0
        return found

    def liked(self) -> csr_matrix:
        """[Q, I] float32: 1 where the history has a like of the item, the input of the classic baselines."""
        lengths = [len(rows) for rows in self.histories]
        case = np.repeat(np.arange(len(self)), lengths)
        rows = np.concatenate([*self.histories, []]).astype(np.int64)
        is_like = self.events.rating[rows] >= LIKED_FROM
        shape = self.seen.shape
        counted = csr_matrix(
            (np.ones(int(is_like.sum()), np.float32), (case[is_like], self.events.item[rows[is_like]])), shape
        )
        counted.data[:] = 1.0
        return counted


def _matrix(
    user: NDArray[np.integer], item: NDArray[np.integer], users: NDArray[np.int64], num_items: int
) -> csr_matrix:
    """[Q, I] int8 matrix with a 1 for each (user, item); `users` is ascending and holds every user."""
    matrix = csr_matrix((np.ones(len(user), np.int8), (np.searchsorted(users, user), item)), (len(users), num_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
