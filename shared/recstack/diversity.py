"""Choosing a few of the best without choosing the same thing over and over.

Shape legend: P candidates of a pool, G genres of an item.
"""

import numpy as np
from numpy.typing import NDArray

from recstack.features.schema import GENRES


def genre_similarity(genres_PG: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Jaccard similarity [P, P] of genre sets given as padded ids [P, G]; 0 where either set is empty."""
    sets = np.zeros((len(genres_PG), len(GENRES) + 1), np.float32)
    sets[np.arange(len(sets))[:, None], genres_PG] = 1.0
    sets = sets[:, 1:]
    common = sets @ sets.T
    sizes = sets.sum(axis=1)
    union = sizes[:, None] + sizes[None, :] - common
    similarity: NDArray[np.float32] = common / np.maximum(union, 1.0)
    return similarity


def select_diverse(
    scores: NDArray[np.float32], similarity: NDArray[np.float32], diversity: float, k: int
) -> NDArray[np.intp]:
    """Greedy choice of min(k, P) distinct positions; each step takes the highest relevance - diversity x sameness.

    Relevance is the score on the pool's own scale, 1 for the best and 0 for the worst, so that one `diversity` means
    the same for probabilities, ratings and chances of a per cent. `diversity` 0 is the order of scores; ties keep input
    order.

    Method: maximal marginal relevance (Carbonell and Goldstein, The use of MMR, diversity-based reranking, 1998), with
    the mean similarity to what is already chosen in place of the maximum: with few genres the maximum is soon 1 for
    everything and would stop telling candidates apart.
    """
    count = min(k, len(scores))
    chosen = np.empty(count, np.intp)
    spread = np.ptp(scores) if count else 0.0
    value = (scores.astype(np.float64) - scores.min(initial=np.inf)) / (spread or 1.0)
    sameness = np.zeros(len(scores))
    for step in range(count):
        best = int((value - sameness * (diversity / max(step, 1))).argmax())
        chosen[step] = best
        value[best] = -np.inf
        sameness += similarity[best]
    return chosen
