"""Click-through baselines on data small enough to know the answer."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from recstack.evaluation.ctr_baselines import (
    LabelledEvents,
    Scores,
    item_knn,
    item_mean,
    matrix_factorization,
    popularity,
)
from recstack.evaluation.ranking_metrics import auc

USERS, ITEMS = 60, 20


def two_camps(seed: int = 0) -> LabelledEvents:
    """Even users like the first half of the items, odd users the second; the last user and item have no events."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(np.arange((USERS - 1) * (ITEMS - 1)), ITEMS - 1)
    kept = rng.random(len(user)) < 0.6
    user, item = user[kept], item[kept]
    likes = (user % 2 == 0) == (item < ITEMS // 2)
    return LabelledEvents(user, item, (likes ^ (rng.random(len(user)) < 0.05)).astype(np.float32), USERS, ITEMS)


def test_popularity_counts_events() -> None:
    known = LabelledEvents(np.array([0, 1, 1]), np.array([2, 2, 0]), np.array([0, 0, 1], np.float32), 2, 3)
    np.testing.assert_array_equal(popularity(known, np.zeros(3, int), np.arange(3)), [1, 0, 2])


def test_item_mean_is_shrunk_to_the_overall_rate() -> None:
    label = np.array([1, 1, 0, 0], np.float32)
    known = LabelledEvents(np.arange(4), np.array([0, 0, 1, 1]), label, 4, 3)
    expected = [(2 + 20 * 0.5) / 22, (0 + 20 * 0.5) / 22, 0.5]
    np.testing.assert_allclose(item_mean(known, np.zeros(3, int), np.arange(3)), expected)


@pytest.mark.parametrize("baseline", [item_knn, partial(matrix_factorization, epochs=150)])
def test_collaborative_baselines_find_the_camps(baseline: Callable[..., Scores]) -> None:
    known = two_camps()
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(USERS - 1), np.arange(ITEMS - 1)))
    truth = ((user % 2 == 0) == (item < ITEMS // 2)).astype(np.float32)
    probabilities = baseline(known, user, item)
    assert auc(truth, probabilities) > 0.9
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_a_user_without_events_gets_the_item_mean() -> None:
    known = two_camps()
    user, item = np.full(ITEMS, USERS - 1), np.arange(ITEMS)
    expected = item_mean(known, user, item)
    np.testing.assert_allclose(item_knn(known, user, item), expected)
    # Its item biases start at the mean and are trained on.
    np.testing.assert_allclose(matrix_factorization(known, user, item), expected, atol=0.1)
