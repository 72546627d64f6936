"""The newest items, so that what nobody has seen yet gets its first impressions."""

import numpy as np
from numpy.typing import NDArray

from recstack.features.catalogue import Catalogue
from services.retrieval.channels.base import Recall, RecallQuery
from services.retrieval.channels.fixed_order import first_allowed


class FreshChannel:
    """Items by release year, within a year by popularity. The score is the year; items without one come last."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._years = catalogue.years.astype(np.float32)
        self._order = np.lexsort((np.arange(len(catalogue)), -catalogue.popularity, -self._years))

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """The k newest allowed items."""
        rows = first_allowed(self._order, k, allowed)
        return Recall(rows, self._years[rows])
