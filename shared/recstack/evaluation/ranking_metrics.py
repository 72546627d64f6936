"""Metrics of click-through models: how well probabilities order rows, and how far they can be believed.

Labels are 0 or 1, one per row; `probabilities` and `scores` are one number per row, higher meaning more likely.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def auc(labels: NDArray[np.number], scores: Floats) -> float:
    """Area under the ROC curve: the chance that a random positive is above a random negative, ties counting half.

    nan where only one class is present.
    """
    return float(_auc_by_group(np.zeros(len(labels), np.int64), labels, scores)[0][0])


def gauc(users: NDArray[np.integer], labels: NDArray[np.number], scores: Floats) -> float:
    """AUC within each user, averaged with the users' rows as weights (Zhu et al., Optimized Cost per Click, 2017).

    Users with one class only are left out; nan where no user has both.
    """
    areas, rows = _auc_by_group(users, labels, scores)
    defined = ~np.isnan(areas)
    return float(np.average(areas[defined], weights=rows[defined])) if defined.any() else float("nan")


def logloss(labels: NDArray[np.number], probabilities: Floats) -> float:
    """Mean negative log-likelihood in nats. Probabilities are kept 1e-7 away from 0 and 1."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels > 0, np.log(clipped), np.log1p(-clipped))))


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Rows by predicted probability, in bins of equal width that hold any. Arrays [bins], in ascending order.

    predicted: mean probability. observed: share of positives. rows: int64, how many there are.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    rows: NDArray[np.int64]


def calibration_curve(labels: NDArray[np.number], probabilities: Floats, bins: int = 10) -> CalibrationCurve:
    """What was predicted against what came, by predicted probability; a perfect curve is the diagonal."""
    row_bins = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    rows = np.bincount(row_bins, minlength=bins)
    predicted, observed = (np.bincount(row_bins, weights=column, minlength=bins) for column in (probabilities, labels))
    held = rows > 0
    return CalibrationCurve(predicted[held] / rows[held], observed[held] / rows[held], rows[held])


def calibration_error(labels: NDArray[np.number], probabilities: Floats, bins: int = 10) -> float:
    """Expected calibration error: |observed - predicted| of the calibration curve, weighted by rows."""
    curve = calibration_curve(labels, probabilities, bins)
    return float(np.average(np.abs(curve.observed - curve.predicted), weights=curve.rows))


def _auc_by_group(
    groups: NDArray[np.integer], labels: NDArray[np.number], scores: Floats
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """AUC of each group by the rank-sum formula (nan with one class), and rows of each group."""
    order = np.lexsort((scores, groups))
    group, label, score = groups[order], labels[order] > 0, scores[order]
    position = np.arange(len(order))
    new_group = np.ones(len(order), bool)
    new_group[1:] = group[1:] != group[:-1]
    new_value = new_group.copy()
    new_value[1:] |= score[1:] != score[:-1]

    group_of_row = np.cumsum(new_group) - 1
    value_of_row = np.cumsum(new_value) - 1
    # Tied rows share the mean of their ranks, so that the result does not depend on the order of ties.
    rank = (np.bincount(value_of_row, weights=position) / np.bincount(value_of_row))[value_of_row]
    rank = rank - position[new_group][group_of_row] + 1

    rows = np.bincount(group_of_row)
    positives = np.bincount(group_of_row, weights=label)
    pairs = positives * (rows - positives)
    rank_sum = np.bincount(group_of_row, weights=rank * label)
    with np.errstate(invalid="ignore"):
        return (rank_sum - positives * (positives + 1) / 2) / np.where(pairs > 0, pairs, np.nan), rows
