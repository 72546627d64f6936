import numpy as np
import pytest

from recstack.data import Items, render_poster, synthetic_world
from recstack.data.invented_titles import NOUNS
from recstack.data.poster import PALETTES
from recstack.data.poster_motifs import MOTIFS
from recstack.features.schema import GENRES


def item(title: str, *genres: int) -> Items:
    row = [*genres, *[0] * (6 - len(genres))]
    return Items(np.array([7]), (title,), np.array([2001], np.int16), np.array([row], np.uint8))


def pixels(items: Items, row: int) -> np.ndarray:
    return np.asarray(render_poster(items, row), np.float64)


@pytest.mark.parametrize("genre", range(1, len(GENRES) + 1), ids=GENRES)
def test_every_genre_has_a_look_of_its_own(genre: int) -> None:
    picture = pixels(item("The Same Title", genre), 0)

    assert picture.shape == (96, 64, 3)
    np.testing.assert_array_equal(picture, pixels(item("The Same Title", genre), 0))
    for other in range(1, len(GENRES) + 1):
        if other != genre:
            assert np.abs(picture[:64] - pixels(item("The Same Title", other), 0)[:64]).mean() > 10


@pytest.mark.parametrize("table", [NOUNS, PALETTES, MOTIFS], ids=["nouns", "palettes", "motifs"])
def test_tables_cover_exactly_the_schemas_genres(table: dict[str, object]) -> None:
    assert set(table) == set(GENRES)


def test_the_title_is_lettered_and_the_last_genre_tints_the_sky() -> None:
    plain, other_title, mixed = (pixels(items, 0) for items in (item("A", 15), item("B", 15), item("A", 15, 14)))

    assert not np.array_equal(plain[70:], other_title[70:])
    assert np.abs(plain[:64] - mixed[:64]).mean() > 5
    np.testing.assert_array_equal(plain[70:], mixed[70:])


@pytest.mark.parametrize("title", ["", "Ça ira, Señor Ø", "恋", "A very " * 40 + "long title", "Unbreakable" * 9])
def test_any_title_and_no_genre_can_be_drawn(title: str) -> None:
    assert render_poster(item(title), 0).size == (64, 96)


def test_a_picture_tells_the_genre_to_a_simple_model() -> None:
    """Nearest mean picture of 300 films names the first genre of 200 others: posters carry learnable signal."""
    items = synthetic_world(users=20, items=500, events=400).items
    small = np.stack([np.asarray(render_poster(items, row).resize((8, 12)), np.float64).ravel() for row in range(500)])
    genre = items.genres[:, 0]
    known = np.unique(genre[:300])
    means = np.stack([small[:300][genre[:300] == g].mean(axis=0) for g in known])
    guess = known[((small[300:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    assert (guess == genre[300:]).mean() > 0.6


def test_a_title_names_something_of_its_first_genre() -> None:
    items = synthetic_world(users=20, items=500, events=400).items

    for title, genres in zip(items.titles, items.genres, strict=True):
        assert any(noun in title for noun in NOUNS[GENRES[genres[0] - 1]]), title
