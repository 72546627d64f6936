"""Click-through baselines on data small enough to know the answer."""

import numpy as np
import pytest

from recstack.evaluation.ctr_baselines import CTR_BASELINES, item_knn, item_mean, popularity, user_and_item_mean
from recstack.evaluation.labelled_events import LabelledEvents
from recstack.evaluation.ranking_metrics import auc

USERS, ITEMS = 60, 20


def events(user: np.ndarray, item: np.ndarray, label: np.ndarray, users: int, items: int) -> LabelledEvents:
    """Events of users and items that differ in nothing but their ids."""
    profiles, genres = np.zeros((users, 4), np.int64), np.zeros((items, 6), np.uint8)
    return LabelledEvents(user, item, label.astype(np.float32), profiles, genres)


def two_camps(copies: int = 1) -> LabelledEvents:
    """Even users like the first half of the items, odd users the second; the last user and item have no events."""
    rng = np.random.default_rng(0)
    user, item = np.divmod(np.arange((USERS - 1) * (ITEMS - 1)), ITEMS - 1)
    kept = rng.random(len(user)) < 0.6
    user, item = user[kept], item[kept]
    likes = ((user % 2 == 0) == (item < ITEMS // 2)) ^ (rng.random(len(user)) < 0.05)
    return events(*(np.tile(column, copies) for column in (user, item, likes)), USERS, ITEMS)


def test_popularity_counts_events() -> None:
    known = events(np.array([0, 1, 1]), np.array([2, 2, 0]), np.array([0, 0, 1]), 2, 3)
    np.testing.assert_array_equal(popularity(known, np.zeros(3, int), np.arange(3)), [1, 0, 2])


def test_item_mean_is_shrunk_to_the_overall_rate() -> None:
    known = events(np.arange(4), np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), 4, 3)
    expected = [(2 + 20 * 0.5) / 22, (0 + 20 * 0.5) / 22, 0.5]
    np.testing.assert_allclose(item_mean(known, np.zeros(3, int), np.arange(3)), expected)


def test_a_user_who_likes_more_than_others_is_expected_to_like_more() -> None:
    known = events(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1, 1, 0, 0]), 3, 2)
    # Every item's rate is 0.5; user 0 is 0.5 above it twice, which five more rows at 0 shrink to 1/7.
    predicted = user_and_item_mean(known, np.arange(3), np.zeros(3, int))
    np.testing.assert_allclose(predicted, [0.5 + 1 / 7, 0.5 - 1 / 7, 0.5])


@pytest.mark.parametrize("name", ["item-kNN", "biased MF", "FM"])
def test_collaborative_baselines_find_the_camps(name: str) -> None:
    # Copies stand for more training: the machines' epochs are fixed, and this world is a thousandth of a real one.
    known = two_camps(copies=1 if name == "item-kNN" else 80)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(USERS - 1), np.arange(ITEMS - 1)))
    truth = ((user % 2 == 0) == (item < ITEMS // 2)).astype(np.float32)
    probabilities = CTR_BASELINES[name](known, user, item)
    assert auc(truth, probabilities) > 0.9
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_interactions_are_what_logistic_regression_lacks() -> None:
    known = two_camps(copies=80)
    truth = ((known.user % 2 == 0) == (known.item < ITEMS // 2)).astype(np.float32)
    assert auc(truth, CTR_BASELINES["logistic regression"](known, known.user, known.item)) < 0.65


def test_a_user_without_events_gets_the_item_mean() -> None:
    known = two_camps()
    user, item = np.full(ITEMS, USERS - 1), np.arange(ITEMS)
    expected = item_mean(known, user, item)
    np.testing.assert_allclose(item_knn(known, user, item), expected)
    np.testing.assert_allclose(user_and_item_mean(known, user, item), expected)
