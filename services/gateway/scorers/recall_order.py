"""Scorer: the order in which channels recalled the candidates, for when the ranker does not answer."""

import numpy as np
from numpy.typing import NDArray

from services.gateway.pipeline.candidates import Candidates, Scores
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace

SMOOTHING = 60.0
"""The constant of reciprocal rank fusion; larger makes agreement between channels count for more."""


class RecallOrder:
    """Reciprocal rank fusion over channels, scaled to 0..1 (1 = first in every channel).

    Method: Reciprocal rank fusion outperforms Condorcet and individual rank learning methods (Cormack et al., 2009):
    the sum over channels of 1 / (SMOOTHING + rank).
    """

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(self, query: Query, candidates: Candidates, rows: NDArray[np.intp], trace: Trace) -> Scores:
        """One score for each of `rows`; 0 for those that no channel recalled."""
        rank = candidates.recall_rank[rows]
        reciprocal = np.where(rank > 0, (SMOOTHING + 1) / (SMOOTHING + rank), 0.0)
        return Scores(reciprocal.mean(axis=1).astype(np.float32))
