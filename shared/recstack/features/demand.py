"""How much an item is asked for at an instant, over short and long times.

Time is counted in events, not in days: how much happens in a day changes over years, and weights that were fitted in a
busy month would be wrong in a quiet one.

Shape legend: I items, F features.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recstack.features.schema import LIKED_FROM

if TYPE_CHECKING:  # servers read models that were fitted on demand, not datasets
    from recstack.data.dataset import Events

HALF_LIVES = (0.02, 0.06, 0.25, float("inf"))
"""Shares of all events so far: an event that so many have followed counts half."""

DEMAND_FEATURES = tuple(f"{kind}_{share:g}" for kind in ("events", "likes") for share in HALF_LIVES)
"""Columns of `demand`."""


def demand(events: "Events", num_items: int) -> NDArray[np.float32]:
    """[I, F] features of items after `events` (in time order): log(1 + count) of events, then likes, per half-life."""
    age = np.arange(len(events), 0, -1) / max(len(events), 1)
    liked = events.rating >= LIKED_FROM
    columns = []
    for counted in (np.ones(len(events)), liked):
        for half_life in HALF_LIVES:
            weights = counted * np.exp2(-age / half_life)
            columns.append(np.log1p(np.bincount(events.item, weights, minlength=num_items)))
    return np.stack(columns, axis=1).astype(np.float32)
