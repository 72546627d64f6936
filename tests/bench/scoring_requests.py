"""Models, users and candidates of the scoring benchmarks, with random weights and ids: they do not change the work."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.features.catalogue import ItemTable
from recstack.features.schema import PROFILE_SIZES
from recstack.models.blend import Blend, Member, Users
from recstack.models.ranker import Ranker, Served

ITEMS, CANDIDATES, HISTORY = 4000, 500, 50
FIELD_SIZES = {"item": ITEMS + 1, "genres": 19, "year": 64, **PROFILE_SIZES}

Requests = tuple[Users, list[NDArray[np.int64]]]


def alike(size: int) -> Requests:
    """Requests of CANDIDATES and full histories."""
    return random_users(size), [random_items(CANDIDATES) for _ in range(size)]


def mixed(size: int) -> Requests:
    """Requests of 20 to CANDIDATES candidates and 0 to HISTORY events."""
    rng = np.random.default_rng(0)
    counts, lengths = rng.integers(20, CANDIDATES, size), rng.integers(0, HISTORY, size)
    return random_users(size, lengths), [random_items(count) for count in counts]


def served_form(model: Ranker) -> Served:
    """`model` as a bundle would serve it."""
    with torch.inference_mode():
        return model.eval().served(model.encode_items(item_table()))


def blend_of(model: Ranker, table: ItemTable | None = None) -> Blend:
    """`model` as the only ranker of a bundle, of the items in `table` or of random ones."""
    with torch.inference_mode():
        vectors_IE = model.eval().encode_items(item_table() if table is None else table)
        return Blend({"model": Member(model, vectors_IE, 1.0)})


def item_table() -> ItemTable:
    """ITEMS with random genres and years."""
    genres = torch.randint(0, FIELD_SIZES["genres"], (ITEMS + 1, 6))
    return ItemTable(torch.randint(0, FIELD_SIZES["year"], (ITEMS + 1,)), genres)


def random_users(size: int, lengths: Sequence[int] | NDArray[np.int64] | None = None) -> Users:
    """Users with HISTORY events each, or with as many as `lengths` says."""
    rng = np.random.default_rng(size)
    lengths = [HISTORY] * size if lengths is None else lengths
    return Users(
        rng.integers(0, 3, (size, len(PROFILE_SIZES))),
        [random_items(length) for length in lengths],
        [rng.integers(1, 6, length).astype(np.float32) for length in lengths],
        np.zeros(size, np.int64),
    )


def random_items(count: int) -> NDArray[np.int64]:
    """Item indices."""
    return np.random.default_rng(count).integers(1, ITEMS + 1, count)
