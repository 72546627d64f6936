"""What an item's training rows average to: where item biases start."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Events

PRIOR_ROWS = 20.0
"""Rows at the overall mean that are added to each item's own."""


def smoothed_item_means(
    events: Events, values: NDArray[np.float32], num_items: int, overall: float | np.floating
) -> Tensor:
    """[I+1] float64: the mean of `values`, one per event, of each item's events; few events move it little.

    The unknown item and those without events have `overall`.
    """
    items, size = events.item.astype(np.int64) + 1, num_items + 1
    total = np.bincount(items, weights=values, minlength=size) + PRIOR_ROWS * overall
    return torch.from_numpy(total / (np.bincount(items, minlength=size) + PRIOR_ROWS))
