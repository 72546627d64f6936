"""What simple predictors learn from: labelled pairs of a user and an item, and what is known of users and items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset

Rows = NDArray[np.integer]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelledEvents:
    """Events with what is to be predicted of them, and the features of all users and items, those without events too.

    user, item [N]: rows of users and items. label [N] float32: 1 for a like and 0 for none, or the rating.
    profiles [U, 4]: ids of gender, age, occupation, region. genres [I, 6]: genre ids, padded with 0.
    """

    user: Rows
    item: Rows
    label: NDArray[np.float32]
    profiles: NDArray[np.int64]
    genres: NDArray[np.uint8]

    @classmethod
    def of(cls, dataset: Dataset, rows: NDArray[np.int64], label: NDArray[np.float32]) -> "LabelledEvents":
        """The events of `rows` with their labels."""
        events = dataset.events
        return cls(events.user[rows], events.item[rows], label, dataset.users.profiles(), dataset.items.genres)

    @property
    def num_users(self) -> int:
        """All users."""
        return len(self.profiles)

    @property
    def num_items(self) -> int:
        """All items."""
        return len(self.genres)


PRIOR_ROWS = 20.0
"""Rows at the overall mean that are added to each item's own before its mean is taken."""

USER_PRIOR_ROWS = 5.0
"""The same for what a user adds to the items' means."""


def item_means(known: LabelledEvents) -> Scores:
    """Mean label of each item, [I], shrunk towards the overall mean by PRIOR_ROWS rows."""
    total = np.bincount(known.item, weights=known.label, minlength=known.num_items)
    counts = np.bincount(known.item, minlength=known.num_items)
    return np.asarray((total + PRIOR_ROWS * known.label.mean()) / (counts + PRIOR_ROWS))


def user_deviations(known: LabelledEvents, means_I: Scores) -> Scores:
    """How far above the items' means each user's labels are, [U], shrunk towards 0 by USER_PRIOR_ROWS rows."""
    deviation = np.bincount(known.user, weights=known.label - means_I[known.item], minlength=known.num_users)
    return np.asarray(deviation / (np.bincount(known.user, minlength=known.num_users) + USER_PRIOR_ROWS))
