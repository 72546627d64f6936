"""Item and user vectors as a trained two-tower gives them, in any number, without training.

The tower of MovieLens-1M has most of its variance in few directions (a third in the first, a hundredth in the tenth of
64) and, from an item to its 50 nearest, about 6 local dimensions. These vectors lie around a thousand centres of
unequal size, with variances that fall as n to the power of -1.5, and have about 11 local dimensions at 20,000 items: a
harder catalogue to search than the one that was looked at. A user leans twice as much to one item as to another.

Shape legend: I items, U users, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

CENTRES = 1000
DECAY = 0.75
SPREAD = 0.6
"""Standard deviation around a centre, over that of the centres."""


def clustered_items(items: int, dimensions: int, seed: int = 0) -> NDArray[np.float32]:
    """[I, D] unit vectors."""
    random = np.random.default_rng(seed)
    scale = np.arange(1, dimensions + 1, dtype=np.float32) ** -DECAY
    scale /= np.linalg.norm(scale)
    rotation = np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0].astype(np.float32)
    centres = random.standard_normal((CENTRES, dimensions), np.float32) * scale
    size = np.arange(1, CENTRES + 1) ** -0.5
    of_centre = random.choice(CENTRES, items, p=size / size.sum())
    around = np.float32(SPREAD) * scale * random.standard_normal((items, dimensions), np.float32)
    return _unit((centres[of_centre] + around) @ rotation)


def users_of(items_ID: NDArray[np.float32], users: int, seed: int = 1) -> NDArray[np.float32]:
    """[U, D] unit vectors of users who like two items, one of them more."""
    liked_U2 = np.random.default_rng(seed).integers(0, len(items_ID), (users, 2))
    return _unit(2 * items_ID[liked_U2[:, 0]] + items_ID[liked_U2[:, 1]])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
