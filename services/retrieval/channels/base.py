"""What a recall channel is: one question, one file, one class."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """A user as the channels see it.

    user: user index, 0 unknown. profile: [4] int64 ids (gender, age, occupation, region). Catalogue rows and ratings
    (0 = none) of the known history items, parallel, oldest first.
    """

    profile: NDArray[np.int64]
    history_rows: NDArray[np.int64]
    history_ratings: NDArray[np.float32]
    user: int = 0


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Recall:
    """Candidates of one channel: distinct catalogue rows, best first, with scores in descending order.

    seed_rows: the history row that each candidate came from, parallel to rows; empty in channels without seeds.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    seed_rows: NDArray[np.int64] = field(default_factory=_no_rows)


NOTHING = Recall(_no_rows(), np.empty(0, np.float32))
"""What a channel brings that has nothing to go by."""


class RecallChannel(Protocol):
    """A source of candidates. Immutable after construction, so requests share it without a lock."""

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """At most k rows among the allowed ones; fewer only when the channel has no more."""
        ...
