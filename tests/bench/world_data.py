"""Invented users, items and histories of any size, for benchmarks: sizes and popularity as in life, no taste.

`recstack.data.synthetic` invents a world whose tastes can be learnt, and compares every user with every item. Nothing
is learnt from this one, so a million of either takes a minute: popularity follows Zipf's law, all else is chance.
"""

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import MS_PER_DAY, Dataset, Events, Items, Users
from recstack.data.invented_titles import invented_titles
from recstack.errors import DataError
from recstack.features.schema import AGE_BANDS, GENRES, MAX_GENRES, NUM_OCCUPATIONS, NUM_REGIONS

START_MS = 1_704_067_200_000
"""2024-01-01, when the first event happens."""
SPAN_MS = 365 * MS_PER_DAY
FIRST_YEAR, LAST_YEAR = 1930, 2023
RATING_SHARES = (0.06, 0.11, 0.26, 0.35, 0.22)
"""How often each rating, 1 to 5, is given; as in MovieLens-1M."""

NEW_SHARE = 0.05
"""Share of items that nobody has met yet, released after all others: what the cold-start channel brings."""
HEAD = 15
"""An item's weight is 1 / (rank + HEAD): without it, Zipf's law would have everybody meet the same few items."""


def bench_dataset(*, items: int, users: int, history: int, seed: int = 0) -> Dataset:
    """`users` users with exactly `history` events of distinct items each.

    DataError where the catalogue is too small: a history may hold half of it.
    """
    if not 0 < history <= items // 2:
        raise DataError(f"histories of {history} events need {2 * history} items or more, there are {items}")
    rng = np.random.default_rng(seed)
    is_new = rng.random(items) < NEW_SHARE
    provenance = f"chance (seed {seed}): {users:,} users with {history} events each, {items:,} items"
    return Dataset("bench", provenance, _users(users, rng), _items(is_new, rng), _events(is_new, users, history, rng))


def _users(count: int, rng: np.random.Generator) -> Users:
    sizes = (2, len(AGE_BANDS), NUM_OCCUPATIONS, NUM_REGIONS)
    profile = (rng.integers(1, size + 1, count, np.uint8) for size in sizes)
    return Users(np.arange(1, count + 1, dtype=np.int64), *profile)


def _items(is_new: NDArray[np.bool_], rng: np.random.Generator) -> Items:
    count = len(is_new)
    ids = np.cumsum(rng.integers(1, 3, count))  # with gaps, so that a row taken for an id shows
    years = np.where(is_new, LAST_YEAR + 1, rng.integers(FIRST_YEAR, LAST_YEAR + 1, count)).astype(np.int16)
    order = rng.random((count, len(GENRES)), np.float32).argsort(axis=1)[:, :MAX_GENRES]
    kept = np.arange(MAX_GENRES) < rng.integers(1, 4, (count, 1))
    genres = np.where(kept, order + 1, 0).astype(np.uint8)
    titles = invented_titles([row[row > 0].tolist() for row in genres], rng)
    return Items(ids, titles, years, genres)


def _events(is_new: NDArray[np.bool_], users: int, history: int, rng: np.random.Generator) -> Events:
    """Events in time order. The k-th events of all users happen in the k-th part of the year."""
    inclusion = _inclusion(is_new, history, rng)
    # Systematic sampling with unequal probabilities (Madow, On the Theory of Systematic Sampling II, 1949): one random
    # start per user, then equal steps along the cumulated probabilities. No item comes up twice, as none exceeds 1.
    steps_UL = rng.random((users, 1)) + np.arange(history)
    item_UL = np.searchsorted(np.cumsum(inclusion), steps_UL, side="right").astype(np.int32)
    np.minimum(item_UL, len(is_new) - 1, out=item_UL)  # where rounding leaves the sum a hair below `history`
    rng.permuted(item_UL, axis=1, out=item_UL)
    time = (START_MS + (np.arange(history) + rng.random((users, history))) * (SPAN_MS / history)).astype(np.int64)
    order = np.argsort(time, axis=None)
    rating = rng.choice(np.arange(1, 6, dtype=np.float32), len(order), p=RATING_SHARES)
    return Events((order // history).astype(np.int32), item_UL.ravel()[order], rating, time.ravel()[order])


def _inclusion(is_new: NDArray[np.bool_], history: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[I] the probability that a user has met each item; sums to `history`, by Zipf's law below a limit of 1."""
    known = np.flatnonzero(~is_new)
    inclusion = np.zeros(len(is_new))
    inclusion[rng.permutation(known)] = 1 / (HEAD + np.arange(1, len(known) + 1))
    inclusion *= history / inclusion.sum()
    while inclusion.max() > 1:
        certain = inclusion >= 1
        inclusion[certain] = 1
        inclusion[~certain] *= (history - certain.sum()) / inclusion[~certain].sum()
    return inclusion
