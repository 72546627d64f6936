"""Display rows of items that were read not long ago, so that most requests need no second feature read."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import FEATURE_STATUS_MISSING
from recstack.features.schema import MAX_GENRES, TITLE_BYTES
from services.gateway.pipeline.candidates import ItemColumns


class DisplayCache:
    """Rows of up to `capacity` items, each good for `seconds` after it was put in.

    An item that the feature store does not know is not kept: it may be loaded at any moment. When the cache is full it
    starts anew. Memory is taken as rows come in, about 150 bytes each.
    """

    def __init__(self, capacity: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._clock = clock
        self._row_of: dict[int, int] = {}
        self._expires_at = np.zeros(capacity)
        # Pages of zeros that nobody has written to take no memory.
        self._columns = ItemColumns(
            np.zeros(capacity, np.int32),
            np.zeros(capacity, np.int16),
            np.zeros((capacity, MAX_GENRES), np.uint8),
            np.zeros(capacity, f"S{TITLE_BYTES}"),
        )

    def get(self, item_ids: NDArray[np.int64]) -> ItemColumns | None:
        """Columns of `item_ids` in order; None unless all of them are there and still good."""
        try:
            rows = [self._row_of[item_id] for item_id in item_ids.tolist()]
        except KeyError:
            return None
        if rows and self._expires_at[rows].min() <= self._clock():
            return None
        columns = self._columns
        return ItemColumns(columns.status[rows], columns.year[rows], columns.genres[rows], columns.title[rows])

    def put(self, item_ids: NDArray[np.int64], read: ItemColumns) -> None:
        """Keep what was just read of distinct `item_ids`."""
        known = np.flatnonzero(read.status != FEATURE_STATUS_MISSING)
        if len(self._row_of) + len(known) > self._capacity:
            self._row_of.clear()
            known = known[: self._capacity]
        rows = [self._row_of.setdefault(item_id, len(self._row_of)) for item_id in item_ids[known].tolist()]
        columns = self._columns
        columns.status[rows] = read.status[known]
        columns.year[rows] = read.year[known]
        columns.genres[rows] = read.genres[known]
        columns.title[rows] = read.title[known]
        self._expires_at[rows] = self._clock() + self._seconds
