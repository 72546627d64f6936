"""Exact top-K of a score column, the same answer every time: ties go to the lower row."""

import numpy as np
from numpy.typing import NDArray

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and similarities, best first, distinct; ties in row order."""

NeighboursOfAny = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]
"""The same with the query that each is nearest to."""


def top_k(scores: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of the k highest scores among the allowed ones, best first; fewer when fewer are allowed."""
    rows = np.flatnonzero(allowed)
    if k < len(rows):
        kept = scores[rows]
        # Everything that ties with the k-th score stays in, so that the sort below decides, not the partition.
        rows = rows[kept >= np.partition(kept, -k)[-k]]
    return rows[np.argsort(-scores[rows], kind="stable")][:k]
