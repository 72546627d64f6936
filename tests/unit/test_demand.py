"""Demand features against counts by hand."""

import numpy as np

from recstack.data.dataset import MS_PER_DAY, Events
from recstack.features.demand import DEMAND_FEATURES, demand

DAY_0 = 1_000 * MS_PER_DAY


def test_an_event_that_is_one_half_life_old_counts_half() -> None:
    days_ago = np.array([14, 5, 0])
    events = Events(
        np.zeros(3, np.int32),
        np.array([0, 1, 1], np.int32),
        np.array([5, 2, 4], np.float32),
        DAY_0 - days_ago * MS_PER_DAY,
    )
    found = dict(zip(DEMAND_FEATURES, demand(events, 3, DAY_0).T, strict=True))
    np.testing.assert_allclose(np.expm1(found["events_14d"]), [0.5, 1 + 2 ** (-5 / 14), 0], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["events_5d"])[1], 1.5, rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["likes_infd"]), [1, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["events_infd"]), [1, 2, 0], rtol=1e-5)
