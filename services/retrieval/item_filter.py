"""Which items may be returned, as one boolean mask per request that all channels share."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recstack.features.catalogue import Catalogue


def _no_ids() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Restrictions of one request. Genre ids are 1..18; years are inclusive, 0 means no bound."""

    exclude_item_ids: NDArray[np.int64] = field(default_factory=_no_ids)
    include_genres: tuple[int, ...] = ()
    exclude_genres: tuple[int, ...] = ()
    min_year: int = 0
    max_year: int = 0


KEEP_ALL = ItemFilter()


def genre_bits(genres: tuple[int, ...]) -> np.uint32:
    """Bit g is set for each genre id g."""
    return np.uint32(sum(1 << genre for genre in set(genres)))


class ItemMasks:
    """Builds masks over a catalogue's rows. Genres become one bitmask per item, once per bundle."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        bits_IG = np.where(catalogue.genres > 0, np.uint32(1) << catalogue.genres.astype(np.uint32), np.uint32(0))
        self._genre_bits = np.bitwise_or.reduce(bits_IG, axis=1)

    def allowed(self, item_filter: ItemFilter) -> NDArray[np.bool_]:
        """Mask [I] of the items that the filter keeps.

        An item without a known year fails every year bound: nothing says that it lies inside.
        """
        allowed = np.ones(len(self._catalogue), np.bool_)
        if len(item_filter.exclude_item_ids):
            index = self._catalogue.index_of(item_filter.exclude_item_ids)
            allowed[index[index > 0] - 1] = False
        if item_filter.include_genres:
            allowed &= (self._genre_bits & genre_bits(item_filter.include_genres)) != 0
        if item_filter.exclude_genres:
            allowed &= (self._genre_bits & genre_bits(item_filter.exclude_genres)) == 0
        if item_filter.min_year or item_filter.max_year:
            years = self._catalogue.years
            allowed &= (years > 0) & (years >= item_filter.min_year)
            if item_filter.max_year:
                allowed &= years <= item_filter.max_year
        return allowed
