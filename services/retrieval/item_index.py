"""Nearest items under a mask. The filter is applied inside the search, before the top-K.

Shape legend: I items, D dimensions, Q query vectors, R rows.
"""

from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from services.retrieval.exact_index import ExactIndex
from services.retrieval.lists_index import ListsIndex
from services.retrieval.top_k import Neighbours, NeighboursOfAny


class ItemIndex(Protocol):
    """Inner products with unit item vectors. Immutable, so requests share it without a lock.

    dimensions: width of the vectors, D.
    """

    dimensions: int

    def __len__(self) -> int:
        """Number of items, I."""
        ...

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors [R, D] of some items."""
        ...

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product; fewer only when fewer are allowed."""
        ...

    def search_any(self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> NeighboursOfAny:
        """The k allowed items nearest to any of the queries: rows, best similarities, and which query it was.

        Where one item is equally near to several queries, the first query counts.
        """
        ...


def item_index(index: faiss.Index) -> ItemIndex:
    """An index that `recstack.models.retrieval_index` has built, ready to be asked."""
    return ListsIndex(index) if isinstance(index, faiss.IndexIVF) else ExactIndex.of(index)
