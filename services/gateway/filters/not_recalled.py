"""Filter: items that only a question about them brought into the pipeline."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query


class NotRecalled:
    """Drops items that Explain was asked about and that no channel recalled, so that they cannot change the answer."""

    def enable(self, query: Query) -> bool:
        """Only for Explain."""
        return len(query.explained_item_ids) > 0

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """True for candidates that at least one channel recalled."""
        return candidates.recalled
