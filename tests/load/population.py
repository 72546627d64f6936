"""Who asks: users whose activity follows Zipf's law, and strangers whom the stack has never met."""

from random import Random

import numpy as np

STRANGERS = 1 << 40
"""Ids of strangers start here, far above those of any data set."""


class Population:
    """Draws users: a few ask often, most of them seldom.

    first, last: the range of known user ids. exponent: the user of rank r is drawn in proportion to r ** -exponent; 0
    makes all alike. Who has which rank is decided by `seed`, so that all workers agree on it. unknown_share: of the
    draws that are strangers, each a new one.
    """

    def __init__(self, first: int, last: int, exponent: float, unknown_share: float, seed: int) -> None:
        if not 0 <= first <= last < STRANGERS:
            raise ValueError(f"users are {first}..{last}; expected 0 <= first <= last < 2 ** 40")
        if exponent < 0:
            raise ValueError(f"the Zipf exponent is {exponent}; expected at least 0")
        if not 0 <= unknown_share <= 1:
            raise ValueError(f"the share of unknown users is {unknown_share}; expected 0..1")
        count = last - first + 1
        self._unknown_share = unknown_share
        self._cumulative = np.cumsum(np.arange(1, count + 1, dtype=np.float64) ** -exponent)
        self._by_rank = np.random.default_rng(seed).permutation(count) + first

    def draw(self, random: Random) -> int:
        """The user of the next session."""
        if random.random() < self._unknown_share:
            return STRANGERS + random.getrandbits(40)
        rank = np.searchsorted(self._cumulative, random.random() * self._cumulative[-1], side="right")
        return int(self._by_rank[rank])
