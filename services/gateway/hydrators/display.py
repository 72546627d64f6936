"""Candidate hydrator: titles, years and genres of the few candidates from which the answer is chosen."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.clients import Backend
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Display:
    """Reads the feature store's "display" plan; one round trip serves both the selector and the reader."""

    def __init__(self, features: Backend) -> None:
        self._features = features

    def enable(self, query: Query) -> bool:
        """Always: people read titles, not ids."""
        return True

    async def run(self, query: Query, item_ids: NDArray[np.int64], trace: Trace) -> ItemColumns:
        """Columns of `item_ids`, in order."""
        columns, redis_ms = await read_item_columns(self._features, item_ids, "display", query.deadline)
        trace.add_timing("display/display.redis", redis_ms)
        return columns
