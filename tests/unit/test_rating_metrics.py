"""Rating metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, root_mean_squared_error

from recstack.evaluation.rating_metrics import mae, mse, rmse

ROWS = st.lists(st.tuples(st.integers(1, 5), st.floats(-3, 9, width=32)), min_size=1, max_size=50)


@given(ROWS)
def test_errors_of_clipped_predictions_agree_with_scikit_learn(rows: list[tuple[int, float]]) -> None:
    ratings, predicted = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    clipped = np.clip(predicted.astype(np.float64), 1, 5)
    assert mse(ratings, predicted) == pytest.approx(mean_squared_error(ratings, clipped))
    assert rmse(ratings, predicted) == pytest.approx(root_mean_squared_error(ratings, clipped))
    assert mae(ratings, predicted) == pytest.approx(mean_absolute_error(ratings, clipped))


def test_beyond_the_scale_nothing_is_wrong() -> None:
    assert mse(np.array([1.0, 5.0]), np.array([-7.0, 40.0])) == 0.0
