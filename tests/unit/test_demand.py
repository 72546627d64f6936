"""Demand features against counts by hand."""

import numpy as np

from recstack.data.dataset import Events
from recstack.features.demand import DEMAND_FEATURES, demand


def events_of(items: list[int], ratings: list[float], days_apart: int = 1) -> Events:
    count = len(items)
    return Events(
        np.zeros(count, np.int32),
        np.array(items, np.int32),
        np.array(ratings, np.float32),
        np.arange(count) * 86_400_000 * days_apart,
    )


def test_an_event_that_one_half_life_of_others_has_followed_counts_half() -> None:
    events = events_of([0, *[1] * 74, 2, *[1] * 24], [5.0, *[2.0] * 74, 4.0, *[2.0] * 24])
    found = dict(zip(DEMAND_FEATURES, demand(events, 3).T, strict=True))
    np.testing.assert_allclose(np.expm1(found["events_0.25"])[2], 0.5, rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["events_0.25"])[0], 2.0**-4, rtol=1e-4)
    np.testing.assert_allclose(np.expm1(found["events_inf"]), [1, 98, 1], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found["likes_inf"]), [1, 0, 1], atol=1e-6)


def test_a_quiet_year_changes_nothing() -> None:
    items, ratings = [0, 1, 1, 2], [5.0, 4.0, 2.0, 1.0]
    np.testing.assert_array_equal(
        demand(events_of(items, ratings), 3), demand(events_of(items, ratings, days_apart=300), 3)
    )
