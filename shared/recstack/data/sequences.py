"""Each user's events in time order, and how many of them an event may know about."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Events


@dataclass(frozen=True, slots=True)
class UserSequences:
    """Events by user, as compressed sparse rows. U users, N events.

    The history of event `row` by user `u` is `events[offsets[u] : offsets[u] + prior[row]]`: only events with a
    strictly earlier timestamp, so that ratings given in the same instant never explain each other.

    offsets      [U + 1] int64: where each user's events begin in `events`.
    events       [N] int64: rows of Events, ordered by user, then time (ties in the order of Events).
    prior        [N] int64, by row of Events: the user's events with a strictly earlier timestamp.
    timestamp_ms [N] int64, by row of Events.
    """

    offsets: NDArray[np.int64]
    events: NDArray[np.int64]
    prior: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]

    @classmethod
    def build(cls, events: Events, num_users: int) -> "UserSequences":
        """Sequences of `num_users` users; those without events get empty ones."""
        by_user = np.argsort(events.user, kind="stable").astype(np.int64)
        offsets = np.zeros(num_users + 1, np.int64)
        np.cumsum(np.bincount(events.user, minlength=num_users), out=offsets[1:])

        users, timestamps = events.user[by_user], events.timestamp_ms[by_user]
        position = np.arange(len(by_user))
        begins_instant = np.ones(len(by_user), bool)
        begins_instant[1:] = (users[1:] != users[:-1]) | (timestamps[1:] != timestamps[:-1])
        instant_start = np.maximum.accumulate(np.where(begins_instant, position, 0))
        prior = np.empty(len(by_user), np.int64)
        prior[by_user] = instant_start - offsets[users]
        return cls(offsets, by_user, prior, events.timestamp_ms)

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    def of(self, user: int) -> NDArray[np.int64]:
        """Rows of all events of a user, oldest first."""
        return self.events[self.offsets[user] : self.offsets[user + 1]]

    def counts_before(self, before_ms: int) -> NDArray[np.int64]:
        """[U] int64: how many events each user has before an instant.

        `events[offsets[u] : offsets[u] + counts[u]]` is what was known of user `u` at that time.
        """
        earlier = np.zeros(len(self.events) + 1, np.int64)
        np.cumsum(self.timestamp_ms[self.events] < before_ms, out=earlier[1:])
        return np.diff(earlier[self.offsets])
