"""Filter: the bound on how many candidates one request may have ranked."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query


class CandidateLimit:
    """Keeps the first `max_candidates` of those still kept, in merged order. Must be the last filter."""

    def __init__(self, max_candidates: int) -> None:
        self._max_candidates = max_candidates

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    def run(self, query: Query, candidates: Candidates) -> NDArray[np.bool_]:
        """True while the limit lasts."""
        return np.cumsum(candidates.kept) <= self._max_candidates
