"""Recall from an order that is the same for every user."""

import numpy as np
from numpy.typing import NDArray


def first_allowed(order: NDArray[np.int64], k: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first k allowed rows of `order`; fewer when fewer are allowed."""
    # A filter mostly keeps enough of the head; the whole catalogue is read only when it does not.
    head = order[: 4 * k]
    rows = head[allowed[head]]
    if len(rows) < k < len(order):
        rows = order[allowed[order]]
    return rows[:k]
