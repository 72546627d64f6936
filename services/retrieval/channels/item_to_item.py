"""Neighbours of what the user liked lately. Reacts to the last event, and can say which item a candidate is near."""

import numpy as np
from numpy.typing import NDArray

from recstack.features.schema import LIKED_FROM
from services.retrieval.channels.base import NOTHING, Recall, RecallQuery
from services.retrieval.item_index import ItemIndex

MAX_SEEDS = 10


def seed_rows(query: RecallQuery) -> NDArray[np.int64]:
    """Up to MAX_SEEDS distinct rows that the user liked, most recent first.

    Liked means rated LIKED_FROM or better, or not rated at all: opening or watching is a choice. The latest event
    of an item decides.
    """
    seeds: dict[int, bool] = {}
    for row, rating in zip(
        reversed(query.history_rows.tolist()), reversed(query.history_ratings.tolist()), strict=True
    ):
        if row not in seeds:
            seeds[row] = rating == 0 or rating >= LIKED_FROM
    liked = [row for row, likes in seeds.items() if likes]
    return np.array(liked[:MAX_SEEDS], np.int64)


class ItemToItemChannel:
    """Nearest items of each seed in the item tower's space. The score is the best cosine over the seeds."""

    def __init__(self, index: ItemIndex) -> None:
        self._index = index

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """The k allowed items nearest to any seed, with that seed; none of the seeds, and nothing without seeds."""
        seeds = seed_rows(query)
        if not len(seeds):
            return NOTHING
        without_seeds = allowed.copy()
        without_seeds[seeds] = False
        rows, similarities, seed_of = self._index.search_any(self._index.vectors(seeds), k, without_seeds)
        return Recall(rows, similarities, seeds[seed_of])
