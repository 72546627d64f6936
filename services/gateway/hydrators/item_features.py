"""Candidate hydrator: years and genres of candidates that no source has held against the caller's limits."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.clients import Backend
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class ItemFeatures:
    """Reads the feature store's "ranking" plan. Not called in the common case: retrieval applied the limits."""

    def __init__(self, features: Backend) -> None:
        self._features = features

    def enable(self, query: Query) -> bool:
        """Only when there are genre or year limits to check."""
        return query.constraints.need_features

    async def run(self, query: Query, item_ids: NDArray[np.int64], trace: Trace) -> ItemColumns:
        """Columns of `item_ids`, in order; titles stay empty."""
        columns, _ = await read_item_columns(self._features, item_ids, "ranking", query.deadline)
        return columns
