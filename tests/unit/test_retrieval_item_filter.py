"""The vectorised mask against the filter's definition, item by item."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recstack.features.catalogue import Catalogue
from services.retrieval.item_filter import KEEP_ALL, ItemFilter, ItemMasks
from tests.helpers.retrieval_world import random_catalogue

genre_sets = st.frozensets(st.integers(1, 18), max_size=3).map(tuple)
years = st.one_of(st.just(0), st.integers(1930, 2001))


@given(
    st.integers(1, 60),
    st.integers(0, 2**16),
    st.lists(st.integers(1, 200), max_size=30),
    genre_sets,
    genre_sets,
    years,
    years,
)
def test_mask_is_the_definition(
    items: int,
    seed: int,
    excluded: list[int],
    include: tuple[int, ...],
    exclude: tuple[int, ...],
    min_year: int,
    max_year: int,
) -> None:
    catalogue = random_catalogue(items, seed)
    item_filter = ItemFilter(np.array(excluded, np.int64), include, exclude, min_year, max_year)

    def kept(row: int) -> bool:
        genres = set(catalogue.genres[row].tolist()) - {0}
        year = int(catalogue.years[row])
        return (
            int(catalogue.ids[row]) not in excluded
            and (not include or bool(genres & set(include)))
            and not genres & set(exclude)
            and (not (min_year or max_year) or year > 0)
            and year >= min_year
            and (not max_year or year <= max_year)
        )

    assert ItemMasks(catalogue).allowed(item_filter).tolist() == [kept(row) for row in range(items)]


def test_no_filter_keeps_all_and_masks_are_not_shared() -> None:
    masks = ItemMasks(random_catalogue(20, 0))
    first = masks.allowed(KEEP_ALL)
    assert first.all()
    first[:] = False
    assert masks.allowed(KEEP_ALL).all()


def test_genre_18_is_the_last_bit_that_counts() -> None:
    genres = np.zeros((2, 6), np.uint8)
    genres[1, 5] = 18
    catalogue = Catalogue(np.array([5, 9]), np.array([0, 0], np.int16), genres, np.ones(2, np.float32))
    masks = ItemMasks(catalogue)
    assert masks.allowed(ItemFilter(include_genres=(18,))).tolist() == [False, True]
    assert masks.allowed(ItemFilter(exclude_genres=(18,))).tolist() == [True, False]
