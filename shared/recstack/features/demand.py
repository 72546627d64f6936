"""How much an item is asked for at an instant, over short and long times.

Shape legend: I items, F features.
"""

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import MS_PER_DAY, Events
from recstack.features.schema import LIKED_FROM

HALF_LIVES_DAYS = (5.0, 14.0, 60.0, float("inf"))
DEMAND_FEATURES = tuple(f"{kind}_{days:g}d" for kind in ("events", "likes") for days in HALF_LIVES_DAYS)
"""Columns of `demand`."""


def demand(events: Events, num_items: int, at_ms: int) -> NDArray[np.float32]:
    """[I, F] features of items at an instant: log(1 + count) of events, then of likes, at each half-life.

    events: all that happened before `at_ms`; an event that is one half-life old counts half.
    """
    age_days = (at_ms - events.timestamp_ms) / MS_PER_DAY
    liked = events.rating >= LIKED_FROM
    columns = []
    for counted in (np.ones(len(events)), liked):
        for half_life in HALF_LIVES_DAYS:
            weights = counted * np.exp2(-age_days / half_life)
            columns.append(np.log1p(np.bincount(events.item, weights, minlength=num_items)))
    return np.stack(columns, axis=1).astype(np.float32)
