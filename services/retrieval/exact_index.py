"""An `ItemIndex` that compares with every item: one matrix product, then the best of what is allowed.

Shape legend: I items, D dimensions, Q query vectors, R rows.
"""

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from services.retrieval.top_k import Neighbours, NeighboursOfAny, top_k


class ExactIndex:
    """Item vectors [I, D] as they are."""

    def __init__(self, vectors_ID: NDArray[np.float32]) -> None:
        # torch's product and not numpy's: numpy's BLAS has threads of its own that no setting of this service limits,
        # and on busy cores waiting for them took one product in ten from 0.1 to 16 ms.
        self._vectors_ID = torch.from_numpy(vectors_ID)
        self.dimensions = vectors_ID.shape[1]

    @classmethod
    def of(cls, index: faiss.IndexFlat) -> "ExactIndex":
        """Over a copy of the vectors of `index`, which is not needed afterwards."""
        return cls(index.reconstruct_n(0, index.ntotal))

    def __len__(self) -> int:
        return len(self._vectors_ID)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[R, D]."""
        vectors_RD: NDArray[np.float32] = self._vectors_ID[torch.from_numpy(rows)].numpy()
        return vectors_RD

    def search(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Neighbours:
        """The k allowed items with the highest dot product."""
        similarities_I = torch.mv(self._vectors_ID, torch.from_numpy(query_D)).numpy()
        rows = top_k(similarities_I, k, allowed)
        return rows, similarities_I[rows]

    def search_any(self, queries_QD: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> NeighboursOfAny:
        """The k allowed items nearest to any of the queries."""
        similarities_QI = (torch.from_numpy(queries_QD) @ self._vectors_ID.T).numpy()
        best_I = similarities_QI.max(axis=0)
        rows = top_k(best_I, k, allowed)
        return rows, best_I[rows], similarities_QI[:, rows].argmax(axis=0)
