"""Metrics of predicted ratings. Predictions are clipped to the ratings that exist, 1 to 5, before they are judged."""

import numpy as np
from numpy.typing import NDArray

from recstack.models.ranker import MAX_RATING, MIN_RATING

Floats = NDArray[np.floating]


def mse(ratings: Floats, predicted: Floats) -> float:
    """Mean squared error."""
    return float(np.square(_errors(ratings, predicted)).mean())


def rmse(ratings: Floats, predicted: Floats) -> float:
    """Root of the mean squared error, in stars."""
    return float(np.sqrt(mse(ratings, predicted)))


def mae(ratings: Floats, predicted: Floats) -> float:
    """Mean absolute error, in stars."""
    return float(np.abs(_errors(ratings, predicted)).mean())


def _errors(ratings: Floats, predicted: Floats) -> NDArray[np.float64]:
    """float64, because a float32 sum over a million rows loses digits that tables show."""
    return np.clip(predicted.astype(np.float64), MIN_RATING, MAX_RATING) - ratings
