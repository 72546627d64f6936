"""Novelty, popularity bias and exposure, by hand and by what must hold for any ranking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstack.errors import InvalidRequestError
from recstack.evaluation.beyond_accuracy import beyond_accuracy, exposure_gini, novelty, popularity_percentile

RANKINGS = st.lists(st.lists(st.integers(0, 7), min_size=3, max_size=3), min_size=1, max_size=20).map(np.array)
COUNTS = st.lists(st.integers(0, 50), min_size=8, max_size=8).map(np.array)


def test_novelty_is_self_information() -> None:
    # With one event added to each: shares 4/8, 2/8, 1/8, 1/8, hence 1, 2, 3 and 3 bits.
    counts = np.array([3, 1, 0, 0])
    assert novelty(np.array([[0, 1], [2, 3]]), counts) == pytest.approx((1 + 2 + 3 + 3) / 4)


def test_percentile_of_equally_popular_items_is_shared() -> None:
    counts = np.array([5, 5, 1, 9])
    assert popularity_percentile(np.array([[3]]), counts) == pytest.approx(7 / 8)
    assert popularity_percentile(np.array([[0]]), counts) == popularity_percentile(np.array([[1]]), counts) == 0.5


def test_gini_of_even_and_of_one_sided_exposure() -> None:
    assert exposure_gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0.0)
    assert exposure_gini(np.array([[2], [2], [2]]), 4) == pytest.approx(3 / 4)


@given(RANKINGS)
def test_gini_is_half_the_relative_mean_difference(ranked: np.ndarray) -> None:
    exposure = np.bincount(ranked.ravel(), minlength=8)
    expected = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert exposure_gini(ranked, 8) == pytest.approx(expected)


@given(RANKINGS, COUNTS)
def test_the_catalogue_itself_is_the_middle(ranked: np.ndarray, counts: np.ndarray) -> None:
    assert popularity_percentile(np.arange(8)[None], counts) == pytest.approx(0.5)
    metrics = beyond_accuracy(ranked, counts, top=2)
    assert 0 < metrics["popularity@2"] < 1
    assert metrics["novelty@2"] == pytest.approx(novelty(ranked[:, :2], counts))
    # No item can be rarer than one without events.
    assert metrics["novelty@2"] <= np.log2(counts.sum() + 8) + 1e-9


def test_what_cannot_be_described_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no recommendations"):
        novelty(np.empty((0, 3), int), np.ones(4))
    with pytest.raises(InvalidRequestError, match="item row 4 has no popularity: there are 4"):
        popularity_percentile(np.array([[4]]), np.ones(4))
