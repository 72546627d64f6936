"""Splits into training, validation and test events."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events
from recstack.errors import DataError

TRAIN_SHARE = 0.8
TEST_SHARE = 0.1
ML_1M_TEST_FROM_MS = 978_132_500_000
"""Where the test period of MovieLens-1M begins; a fixed instant, so that figures compare between copies of the data."""


@dataclass(frozen=True, slots=True)
class TemporalSplit:
    """Three consecutive periods as slices of the columns of Events; no instant belongs to two of them."""

    train: slice
    validation: slice
    test: slice


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Rows of Events, int64, ascending, that a model learns from, is chosen on, and is judged on; none in two parts.

    temporal: whether every training row precedes every test row, so that a row's history may hold any earlier event.
    In a random split it must hold training rows only: others would give away labels.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    temporal: bool


@dataclass(frozen=True, slots=True)
class LeaveLastOut:
    """Event row numbers in ascending order, int64. Only users with three events or more are held out."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def temporal_split(dataset: Dataset) -> TemporalSplit:
    """Split at two instants: what a model learns from always precedes what it is judged on.

    Train is the first 80 % of events, less those that share their timestamp with a later event outside. Test is
    what comes at or after a fixed instant (MovieLens-1M) or at or after the timestamp of the event at 90 %.
    Validation is what lies between. Raises DataError where one of them would be empty.
    """
    timestamps = dataset.events.timestamp_ms
    total = len(timestamps)
    if total == 0:
        raise DataError("cannot split a dataset without events; give one with ratings")
    validation_from_ms = timestamps[int(TRAIN_SHARE * total)]
    test_from_ms = ML_1M_TEST_FROM_MS if dataset.name == "ml-1m" else timestamps[int((1 - TEST_SHARE) * total)]
    validation_start, test_start = (
        int(row) for row in np.searchsorted(timestamps, [validation_from_ms, test_from_ms], side="left")
    )
    if not 0 < validation_start < test_start < total:
        raise DataError(
            f"cannot split {total} events in time: train would end at row {validation_start}, validation at row "
            f"{test_start}. The events need at least three distinct timestamps that are spread out; give more data."
        )
    return TemporalSplit(slice(0, validation_start), slice(validation_start, test_start), slice(test_start, total))


def leave_last_out(events: Events) -> LeaveLastOut:
    """Each user's last event is test, the one before it validation, the others train.

    Ties keep the order of Events, which is file order. Users with fewer than three events are train only.
    """
    order = np.argsort(events.user, kind="stable")
    counts = np.bincount(events.user)
    # Distance from the user's last event: 0 is the last one.
    from_last = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(order))
    held_out = np.repeat(counts >= 3, counts)
    return LeaveLastOut(
        train=np.sort(order[~held_out | (from_last >= 2)]),
        validation=np.sort(order[held_out & (from_last == 1)]),
        test=np.sort(order[held_out & (from_last == 0)]),
    )


def temporal_rows(split: TemporalSplit) -> RowSplit:
    """A temporal split as rows."""
    train, validation, test = (
        np.arange(part.start, part.stop, dtype=np.int64) for part in (split.train, split.validation, split.test)
    )
    return RowSplit(train, validation, test, temporal=True)


def random_split(
    dataset: Dataset,
    shares: tuple[float, float],
    seed: int,
    rows: NDArray[np.int64] | None = None,
    test_first: bool = False,
) -> RowSplit:
    """Cut a random permutation of the source file's rows into training, validation and test.

    shares: validation's and test's. The permutation is `numpy.random.RandomState(seed).permutation(N)`, which is what
    published splits use. rows: the rows of Events that take part (all when left out), numbered as if the file had no
    others. test_first: the permutation begins with the test part, as in scikit-learn's `train_test_split`, and not
    with training. Raises DataError where a part would be empty.
    """
    file_row = np.arange(len(dataset.events)) if dataset.file_row is None else dataset.file_row
    rows = np.arange(len(dataset.events)) if rows is None else rows
    in_file_order = rows[np.argsort(file_row[rows], kind="stable")]
    total = len(rows)
    validation, test = round(shares[0] * total), math.ceil(shares[1] * total)
    if min(validation, test, total - validation - test) < 1:
        raise DataError(
            f"cannot split {total} events at random: {total - validation - test} for training, {validation} for "
            f"validation and {test} for test; each needs at least one"
        )
    order = np.random.RandomState(seed).permutation(total)
    if test_first:
        order = np.roll(order, -test)
    parts = np.split(in_file_order[order], [total - validation - test, total - test])
    train_rows, validation_rows, test_rows = (np.sort(part).astype(np.int64) for part in parts)
    return RowSplit(train_rows, validation_rows, test_rows, temporal=False)
