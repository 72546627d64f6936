"""Metrics of click-through models against scikit-learn and by hand."""

import numpy as np
import pytest
import sklearn.calibration
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from recstack.evaluation.ranking_metrics import auc, calibration_curve, calibration_error, gauc, logloss

# Few distinct scores, so that ties are common; one row and one class happen too.
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=60)


@given(ROWS)
def test_auc_and_gauc_agree_with_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    users, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    if labels.min() == labels.max():
        assert np.isnan(auc(labels, scores / 7))
    else:
        assert auc(labels, scores / 7) == pytest.approx(roc_auc_score(labels, scores))

    areas, weights = [], []
    for user in np.unique(users):
        own = users == user
        if labels[own].min() < labels[own].max():
            areas.append(roc_auc_score(labels[own], scores[own]))
            weights.append(own.sum())
    expected = np.average(areas, weights=weights) if areas else np.nan
    np.testing.assert_allclose(gauc(users, labels, scores / 7), expected)


@given(ROWS)
def test_logloss_agrees_with_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    _, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    probabilities = (scores + 0.5) / 7
    assert logloss(labels, probabilities) == pytest.approx(log_loss(labels, probabilities, labels=[0, 1]))


def test_logloss_of_a_wrong_certainty_is_finite() -> None:
    assert 15 < logloss(np.array([1]), np.array([0.0], np.float32)) < 17


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 100)), min_size=1, max_size=60))
def test_calibration_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    # An odd number of hundredths and a half: never on the border of two bins, which either may have.
    labels, probabilities = (np.array(column) for column in zip(*rows, strict=True))
    probabilities = (probabilities + 0.5) / 101
    curve = calibration_curve(labels, probabilities, bins=7)
    observed, predicted = sklearn.calibration.calibration_curve(labels, probabilities, n_bins=7)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    assert curve.rows.sum() == len(rows)
    expected = np.average(np.abs(observed - predicted), weights=curve.rows)
    assert calibration_error(labels, probabilities, bins=7) == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Bin 0.2-0.3: mean label 0.5 against 0.25, two rows of four. Bin 0.9-1.0: 1 against 1, the other two.
    labels, probabilities = np.array([0, 1, 1, 1]), np.array([0.25, 0.25, 1.0, 1.0])
    assert calibration_error(labels, probabilities) == pytest.approx(0.125)
    np.testing.assert_array_equal(calibration_curve(labels, probabilities).rows, [2, 2])
