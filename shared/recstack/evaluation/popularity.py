"""Popularity: the same ranking for everybody, by plain or by time-decayed counts."""

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import MS_PER_DAY, Events
from recstack.evaluation.retrieval_cases import RetrievalCases

HALF_LIFE_DAYS = 60.0


def decayed_popularity(
    events: Events, num_items: int, half_life_days: float | None = HALF_LIFE_DAYS
) -> NDArray[np.float32]:
    """[I] float32: events per item, each worth half of one that is `half_life_days` younger (None: all the same).

    Age is counted back from the last event, so that the figure does not depend on today's date.
    """
    weights = np.ones(len(events), np.float64)
    if half_life_days is not None and len(events):
        age_days = (events.timestamp_ms[-1] - events.timestamp_ms) / MS_PER_DAY
        weights = np.exp2(-age_days / half_life_days)
    return np.bincount(events.item, weights, minlength=num_items).astype(np.float32)


class Popularity:
    """The baseline that recommends the most popular unseen items to every user."""

    def __init__(self, popularity_I: NDArray[np.float32]) -> None:
        self.popularity_I = popularity_I

    def scores(self, cases: RetrievalCases) -> NDArray[np.float32]:
        """[Q, I] scores of every item for every case; higher is better."""
        return np.broadcast_to(self.popularity_I, (len(cases), len(self.popularity_I)))

    def where_no_history(self, scores_QI: NDArray[np.float32], cases: RetrievalCases) -> NDArray[np.float32]:
        """The scores of another model, with popularity for the cases that the other model knows no likes of."""
        unknown_Q = cases.liked().getnnz(axis=1) == 0
        return np.where(unknown_Q[:, None], self.popularity_I, scores_QI)
