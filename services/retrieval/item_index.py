"""Nearest items under a mask. The filter is applied inside the search, before the top-K.

Shape legend: I items, D dimensions, Q query vectors, K results, R rows.
"""

from typing import Protocol

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from recstack.models.retrieval_index import TARGET_K
from services.retrieval.top_k import top_k

FEW_ITEMS = 10_000
"""So few allowed items are compared one by one: at a million items that takes a third of a look into all lists."""

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and similarities, best first, distinct; ties in row order."""


class ItemIndex(Protocol):
    """Inner products with unit item vectors. Immutable, so requests share it without a lock."""

    dimensions: int
    """Width of the vectors, D."""

    def __len__(self) -> int:
        """Number of items, I."""
        ...

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors [R, D] of some items."""
        ...

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product; fewer only when fewer are allowed."""
        ...

    def search_any(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The k allowed items nearest to any of the queries: rows, best similarities, and which query it was.

        Where one item is equally near to several queries, the first query counts.
        """
        ...


def item_index(index: faiss.Index) -> "ItemIndex":
    """An index that `recstack.models.retrieval_index` has built, ready to be asked."""
    return ListsIndex(index) if isinstance(index, faiss.IndexIVF) else ExactIndex(index)


class ExactIndex:
    """Compares with every item: one matrix product, then the best of what is allowed."""

    def __init__(self, index: faiss.IndexFlat) -> None:
        self._index = index  # owns the memory that is viewed below, so that the vectors are in memory once
        values = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        self._vectors_ID = torch.from_numpy(values.reshape(index.ntotal, index.d))
        self.dimensions = int(index.d)

    def __len__(self) -> int:
        return len(self._vectors_ID)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[R, D]."""
        vectors_RD: NDArray[np.float32] = self._vectors_ID[torch.from_numpy(rows)].numpy()
        return vectors_RD

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product."""
        return _best(torch.mv(self._vectors_ID, torch.from_numpy(query_D)).numpy(), k, allowed)

    def search_any(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The k allowed items nearest to any of the queries."""
        # torch's product and not numpy's: numpy's BLAS has threads of its own that no setting of this service limits,
        # and on busy cores waiting for them took one product in ten from 0.1 to 16 ms.
        similarities_QI = (torch.from_numpy(queries_QD) @ self._vectors_ID.T).numpy()
        rows, best = _best(similarities_QI.max(axis=0), k, allowed)
        return rows, best, similarities_QI[:, rows].argmax(axis=0)


class ListsIndex:
    """Looks into the lists nearest to the query, as many as were found to be enough when the index was built."""

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
        rows_QK, similarities_QK = self._search(query_D[None, :], k, allowed)
        order = np.lexsort((rows_QK[0], -similarities_QK[0]))
        return rows_QK[0, order], similarities_QK[0, order]

    def search_any(
        self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """The k allowed items nearest to any of the queries: they lie in the union of each query's k nearest."""
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
        if count <= FEW_ITEMS:
            return self._search_few(queries_QD, k, np.flatnonzero(allowed))
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little")) if count < len(self) else None
        # Allowed items lie the sparser, the fewer they are, and the k nearest of them the further apart.
        more = len(self) / count * max(1.0, (k / TARGET_K) ** 0.5)
        for lists in (min(self._index.nlist, int(self._index.nprobe * more)), self._index.nlist):
            parameters = faiss.SearchParametersIVF(nprobe=lists, sel=selector)
            similarities_QK, rows_QK = self._index.search(queries_QD, k, params=parameters)
            if (rows_QK >= 0).all():
                break
        return rows_QK, similarities_QK

    def _search_few(
        self, queries_QD: NDArray[np.float32], k: int, allowed_R: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        vectors_RD = torch.from_numpy(self.vectors(allowed_R))
        similarities_QK, order_QK = (torch.from_numpy(queries_QD) @ vectors_RD.T).topk(k, dim=1)
        return allowed_R[order_QK.numpy()], similarities_QK.numpy()


def _best(similarities_I: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
    rows = top_k(similarities_I, k, allowed)
    return rows, similarities_I[rows]
