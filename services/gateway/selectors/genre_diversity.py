"""Selector: relevance against sameness of genres."""

import numpy as np
from numpy.typing import NDArray

from recstack.features.schema import GENRES
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
        return pool[select_diverse(candidates.relevance[pool], similarity, self._diversity, query.k)]


def genre_similarity(genres_PG: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Jaccard similarity [P, P] of genre sets given as padded ids [P, G]; 0 where either set is empty."""
    sets = np.zeros((len(genres_PG), len(GENRES) + 1), np.float32)
    np.put_along_axis(sets, genres_PG.astype(np.intp), 1.0, axis=1)
    sets = sets[:, 1:]
    common = sets @ sets.T
    sizes = sets.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - common
    similarity: NDArray[np.float32] = common / np.maximum(union, 1.0)
    return similarity


def select_diverse(
    relevance: NDArray[np.float32], similarity: NDArray[np.float32], diversity: float, k: int
) -> NDArray[np.intp]:
    """Greedy choice of min(k, P) distinct positions; each step takes the highest relevance - diversity x sameness.

    relevance is on the scale 0..1, so that one `diversity` means the same for every ranker.

    Method: maximal marginal relevance (Carbonell and Goldstein, The use of MMR, diversity-based reranking, 1998), with
    the mean similarity to what is already chosen in place of the maximum: with few genres the maximum is soon 1 for
    everything and would stop telling candidates apart. `diversity` 0 is the order of relevance; ties keep input order.
    """
    count = min(k, len(relevance))
    chosen = np.empty(count, np.intp)
    value = relevance.astype(np.float64)
    sameness = np.zeros(len(relevance))
    for step in range(count):
        best = int(np.argmax(value - sameness * (diversity / max(step, 1))))
        chosen[step] = best
        value[best] = -np.inf
        sameness += similarity[best]
    return chosen
