"""Splits into training, validation and test events."""

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
