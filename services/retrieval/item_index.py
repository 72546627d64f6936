"""Nearest items under a mask. The filter is applied inside the search, before the top-K.

Shape legend: I items, D dimensions, Q query vectors.
"""

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from services.retrieval.top_k import top_k

BREADTH_PER_RESULT = 4
MIN_BREADTH = 256
"""Candidate list of a graph search (efSearch) when nothing is filtered: so many per result, at least MIN_BREADTH.
Recall against exact search, 110,000 clustered vectors of 64 values: 0.995 at k = 100 with 400, 0.998 at k = 350 with
1,200 (and with half of that 0.970 and 0.984)."""

GRAPH_SHARE = 0.25
"""A graph search needs at least this share of items allowed. Below it most of the walk leads to items that are not
allowed, while an exact scan reads only the allowed ones (110,000 items, k = 350, a fifth allowed: as fast as the
graph, which then misses a tenth of the neighbours)."""

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and similarities, best first, distinct; ties in row order."""


class ItemIndex:
    """A faiss inner-product index over unit item vectors (see `recstack.models.retrieval_index`)."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self.approximate = isinstance(index, faiss.IndexHNSW)
        self._exact = faiss.downcast_index(index.storage) if self.approximate else index
        # A view of the index's own storage: the vectors are in memory once.
        values = faiss.rev_swig_ptr(self._exact.get_xb(), index.ntotal * index.d)
        self.vectors: NDArray[np.float32] = values.reshape(index.ntotal, index.d)
        self._vectors_DI = torch.from_numpy(self.vectors).T
        self.vectors.flags.writeable = False

    @property
    def dimensions(self) -> int:
        """Width of the vectors."""
        return int(self._index.d)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product; fewer only when fewer are allowed."""
        rows_QK, similarities_QK = self._search(query_D[None, :], k, allowed)
        rows, similarities = rows_QK[0], similarities_QK[0]
        order = np.lexsort((rows, -similarities))
        return rows[order], similarities[order]

    def search_any(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The k allowed items nearest to any of the queries: rows, best similarities, and which query it was.

        Where one item is equally near to several queries, the first query counts.
        """
        if not self.approximate:
            # One matrix product costs a quarter of Q searches with their heaps (measured at 3,883 items, Q = 10). It
            # is torch's and not numpy's: numpy's BLAS has threads of its own that no setting of this service limits,
            # and on busy cores waiting for them took one product in ten from 0.1 to 16 ms.
            similarities_QI = (torch.from_numpy(queries_QD) @ self._vectors_DI).numpy()
            best = similarities_QI.max(axis=0)
            rows = top_k(best, k, allowed)
            return rows, best[rows], similarities_QI[:, rows].argmax(axis=0)
        # The k best of the union lie in the union of each query's k best.
        rows_QK, similarities_QK = self._search(queries_QD, k, allowed)
        query_QK = np.broadcast_to(np.arange(len(rows_QK))[:, None], rows_QK.shape)
        rows, similarities, query = rows_QK.ravel(), similarities_QK.ravel(), query_QK.ravel()
        order = np.lexsort((query, rows, -similarities))
        _, first = np.unique(rows[order], return_index=True)
        chosen = order[np.sort(first)[:k]]
        return rows[chosen], similarities[chosen], query[chosen]

    def _search(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """[Q, K] rows and similarities with K = min(k, allowed items), so that no place stays empty."""
        count = int(np.count_nonzero(allowed))
        k = min(k, count)
        if k == 0:
            return np.empty((len(queries_QD), 0), np.int64), np.empty((len(queries_QD), 0), np.float32)
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")) if count < len(self) else None
        share = count / len(self)
        if self.approximate and share >= GRAPH_SHARE:
            # The walk keeps only allowed items, so it must go on for longer to meet as many of them.
            breadth = int(max(MIN_BREADTH, BREADTH_PER_RESULT * k) / share)
            parameters = faiss.SearchParametersHNSW(efSearch=breadth, sel=selector)
            similarities_QK, rows_QK = self._index.search(queries_QD, k, params=parameters)
            if (rows_QK >= 0).all():
                return rows_QK, similarities_QK
        # Exact: always for small catalogues; for a graph, where few items qualify or its walk ended too early.
        similarities_QK, rows_QK = self._exact.search(queries_QD, k, params=faiss.SearchParameters(sel=selector))
        return rows_QK, similarities_QK
