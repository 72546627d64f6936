"""What recommendations are like apart from being right: how novel, and how much of them the popular items take.

Popularity is a count per item, taken from the training period. Unlike the metrics of a ranking these need no truth.

Shape legend: Q cases (users), K ranks, I items.
"""

import numpy as np
from numpy.typing import NDArray

from recstack.errors import InvalidRequestError

Popularity = NDArray[np.number]


def novelty(ranked_QK: NDArray[np.integer], popularity_I: Popularity) -> float:
    """Mean self-information of the recommended items in bits: 10 means as rare as one event in 1,024.

    Zhou et al., Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems, 2010. One event is added to
    each item's count, so that an item without events has a finite figure.
    """
    _check(ranked_QK, popularity_I)
    share_I = (popularity_I + 1.0) / (popularity_I + 1.0).sum()
    return float(-np.log2(share_I[ranked_QK]).mean())


def popularity_percentile(ranked_QK: NDArray[np.integer], popularity_I: Popularity) -> float:
    """Mean popularity of the recommended items as a percentile of the catalogue, 0..1; items as popular share theirs.

    Recommending at random gives 0.5, only the most popular items close to 1.
    """
    _check(ranked_QK, popularity_I)
    ascending = np.sort(popularity_I)
    below_I, up_to_I = (np.searchsorted(ascending, popularity_I, side=side) for side in ("left", "right"))
    percentile_I = (below_I + up_to_I) / (2 * len(popularity_I))
    return float(percentile_I[ranked_QK].mean())


def exposure_gini(ranked_QK: NDArray[np.integer], num_items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is recommended: 0 where all are equally often, close to
    1 where a few have it all."""
    if ranked_QK.size == 0:
        raise InvalidRequestError("there are no recommendations; exposure is undefined without any")
    exposure_I = np.sort(np.bincount(ranked_QK.ravel(), minlength=num_items))
    rank_I = np.arange(1, num_items + 1)
    return float(((2 * rank_I - num_items - 1) * exposure_I).sum() / (num_items * exposure_I.sum()))


def beyond_accuracy(ranked_QK: NDArray[np.integer], popularity_I: Popularity, top: int = 20) -> dict[str, float]:
    """All of the above of the first `top` recommendations of each case."""
    best_QK = ranked_QK[:, :top]
    return {
        f"novelty@{top}": novelty(best_QK, popularity_I),
        f"popularity@{top}": popularity_percentile(best_QK, popularity_I),
        f"gini@{top}": exposure_gini(best_QK, len(popularity_I)),
    }


def _check(ranked_QK: NDArray[np.integer], popularity_I: Popularity) -> None:
    if ranked_QK.size == 0:
        raise InvalidRequestError("there are no recommendations to describe")
    if ranked_QK.max() >= len(popularity_I):
        raise InvalidRequestError(f"item row {ranked_QK.max()} has no popularity: there are {len(popularity_I)} items")
