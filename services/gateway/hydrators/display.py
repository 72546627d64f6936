"""Candidate hydrator: titles, years and genres of the few candidates from which the answer is chosen."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.clients import Backend
from services.gateway.hydrators.display_cache import DisplayCache
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Display:
    """Reads the feature store's "display" plan, through a cache: what items are called hardly ever changes.

    One round trip serves both the selector and the reader. If one item is not in the cache all of them are read again:
    the round trip costs far more than the rows, and rows read together expire together.
    """

    def __init__(self, features: Backend, cache: DisplayCache) -> None:
        self._features = features
        self._cache = cache

    def enable(self, query: Query) -> bool:
        """Always: people read titles, not ids."""
        return True

    async def run(self, query: Query, item_ids: NDArray[np.int64], trace: Trace) -> ItemColumns:
        """Columns of `item_ids`, in order."""
        cached = self._cache.get(item_ids)
        if cached is not None:
            return cached
        columns, redis_ms = await read_item_columns(self._features, item_ids, "display", query.deadline)
        trace.add_timing("display/display.redis", redis_ms)
        self._cache.put(item_ids, columns)
        return columns
