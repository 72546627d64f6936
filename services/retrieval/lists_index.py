"""An `ItemIndex` that looks into some lists of a faiss inverted file, as many as were enough when it was built.

Shape legend: I items, D dimensions, Q query vectors, K results, R rows.
"""

import faiss
import numpy as np
from numpy.typing import NDArray

from recstack.models.retrieval_index import TARGET_K
from services.retrieval.exact_index import ExactIndex
from services.retrieval.top_k import Neighbours, NeighboursOfAny

FEW_ITEMS = 20_000
"""So few allowed items are compared one by one: 3 ms, where a look into all lists of a million items takes 9."""

MOST = 0.9
"""Where more than this share is allowed, as when only what was seen is not, a filter hardly moves the nearest."""

SETTLED = 0.98
"""Under other filters a search is settled when twice as many lists leave this share of its results as they were."""


class ListsIndex:
    """Items in lists around centres; see `recstack.models.retrieval_index`."""

    def __init__(self, index: faiss.IndexIVF) -> None:
        self._index = index
        self.dimensions = int(index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[R, D]; rounded where the index keeps values of one byte."""
        vectors_RD: NDArray[np.float32] = self._index.reconstruct_batch(rows)
        return vectors_RD

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product, but for those in lists that were not looked into."""
        count = int(np.count_nonzero(allowed))
        if count <= FEW_ITEMS:
            rows_R, few = self._few(allowed)
            rows, similarities = few.search(query_D, k, np.ones(count, np.bool_))
            return rows_R[rows], similarities
        look = _Look(self._index, query_D[None, :], min(k, count), allowed, count)
        rows_1K, similarities_1K = look.into(1)
        if count < MOST * len(self):
            # What a filter leaves may lie away from the user, over many lists: see whether a wider look finds more.
            wider = look.into(2)
            settled = len(np.intersect1d(rows_1K, wider[0])) >= SETTLED * look.k
            rows_1K, similarities_1K = wider if settled else look.everywhere()
        if (rows_1K < 0).any():
            rows_1K, similarities_1K = look.everywhere()
        order = np.lexsort((rows_1K[0], -similarities_1K[0]))
        return rows_1K[0, order], similarities_1K[0, order]

    def search_any(self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> NeighboursOfAny:
        """The k allowed items nearest to any of the queries; a filter does not widen the look as long as K is full."""
        count = int(np.count_nonzero(allowed))
        if count <= FEW_ITEMS:
            rows_R, few = self._few(allowed)
            rows, similarities, query = few.search_any(queries_QD, k, np.ones(count, np.bool_))
            return rows_R[rows], similarities, query
        look = _Look(self._index, queries_QD, min(k, count), allowed, count)
        merged = _merge(*look.into(1), look.k)
        return merged if len(merged[0]) == look.k else _merge(*look.everywhere(), look.k)

    def _few(self, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ExactIndex]:
        rows_R = np.flatnonzero(allowed)
        return rows_R, ExactIndex(self.vectors(rows_R))


class _Look:
    """One search under a filter, which can be repeated in more lists: [Q, K] rows, -1 for none, and similarities."""

    def __init__(
        self, index: faiss.IndexIVF, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], count: int
    ) -> None:
        self._index, self._queries_QD, self.k = index, queries_QD, k
        share = count / len(allowed)
        self._selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")) if share < 1 else None
        # The fewer items are allowed, and the more are asked for, the further apart lie the k nearest.
        self._lists = index.nprobe * (max(1.0, k / TARGET_K) / share) ** 0.5

    def into(self, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Into `width` times as many lists as a filter at random needs."""
        lists = min(self._index.nlist, int(width * self._lists))
        parameters = faiss.SearchParametersIVF(nprobe=lists, sel=self._selector)
        similarities_QK, rows_QK = self._index.search(self._queries_QD, self.k, params=parameters)
        return rows_QK, similarities_QK

    def everywhere(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Into all lists: exact, and slow (28 ms for half of a million items)."""
        return self.into(self._index.nlist)


def _merge(rows_QK: NDArray[np.int64], similarities_QK: NDArray[np.float32], k: int) -> NeighboursOfAny:
    """The k nearest to any query, which lie in the union of each query's k nearest."""
    query, place = np.nonzero(rows_QK >= 0)
    rows, similarities = rows_QK[query, place], similarities_QK[query, place]
    order = np.lexsort((query, rows, -similarities))
    _, first = np.unique(rows[order], return_index=True)
    chosen = order[np.sort(first)[:k]]
    return rows[chosen], similarities[chosen], query[chosen]
