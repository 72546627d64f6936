"""Selector: relevance against sameness of genres."""

import numpy as np
from numpy.typing import NDArray

from recstack.diversity import genre_similarity, select_diverse
from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import Query

POOL_PER_ITEM = 3
MIN_POOL = 60


class GenreDiversity:
    """Chooses k out of the best 3 k candidates (at least 60), spreading genres; see `select_diverse`."""

    def __init__(self, diversity: float) -> None:
        self._diversity = diversity

    def enable(self, query: Query) -> bool:
        """Unless the configuration asks for pure relevance."""
        return self._diversity > 0

    def pool_size(self, query: Query) -> int:
        """Candidates to choose from; only k when there is nothing to choose."""
        return max(POOL_PER_ITEM * query.k, MIN_POOL) if self.enable(query) else query.k

    def run(self, query: Query, candidates: Candidates, pool: NDArray[np.intp]) -> NDArray[np.intp]:
        """At most k rows of `pool`. Candidates without known genres resemble nothing, so scores alone order them."""
        similarity = genre_similarity(candidates.items.genres[pool])
        return pool[select_diverse(candidates.score[pool], similarity, self._diversity, query.k)]
