"""Filter: items that the caller asked to leave out."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query


class ExcludedItems:
    """Drops the request's `exclude_item_ids`, whichever source brought them."""

    def enable(self, query: Query) -> bool:
        """Only when the caller excluded something."""
        return len(query.constraints.exclude_item_ids) > 0

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """True for candidates that were not excluded."""
        return np.isin(candidates.item_id, query.constraints.exclude_item_ids, invert=True)
