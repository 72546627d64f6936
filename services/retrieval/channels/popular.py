"""The most interacted-with items: the same for everybody, and the answer when nothing is known of a user."""

import numpy as np
from numpy.typing import NDArray

from recstack.features.catalogue import Catalogue
from services.retrieval.channels.base import Recall, RecallQuery
from services.retrieval.channels.fixed_order import first_allowed


class PopularChannel:
    """Items by time-decayed popularity. The score is `Catalogue.popularity`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._popularity = catalogue.popularity
        self._order = np.lexsort((np.arange(len(catalogue)), -catalogue.popularity))

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """The k most popular allowed items."""
        rows = first_allowed(self._order, k, allowed)
        return Recall(rows, self._popularity[rows])
