"""Posters as small pictures: read where files are, drawn in the synthetic world, and never read too early."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recstack.data import read_movielens, synthetic_world, write_movielens
from recstack.data.dataset import Dataset
from recstack.data.posters import HEIGHT, WIDTH, load_posters
from recstack.errors import DataError


@pytest.fixture
def films(tmp_path: Path) -> Dataset:
    """A dataset on disk of whose items the first has a red poster, the second a grey one, and the others none."""
    written = synthetic_world(seed=1, users=20, items=50, events=400)
    latin = tuple(f"Film {number}" for number in range(50))
    write_movielens(replace(written, items=replace(written.items, titles=latin)), tmp_path)
    posters = tmp_path / "posters"
    posters.mkdir()
    Image.new("RGB", (64, 96), (250, 0, 0)).save(posters / f"{written.items.ids[0]}.jpg")
    Image.new("L", (30, 45), 128).save(posters / f"{written.items.ids[1]}.jpg")
    return read_movielens(tmp_path)


def test_posters_are_read_by_item_id_and_reduced_to_one_size(films: Dataset) -> None:
    pictures, present = load_posters(films)

    assert pictures.shape == (50, 3, HEIGHT, WIDTH)
    assert np.flatnonzero(present).tolist() == [0, 1]
    assert pictures[0, 0].min() > 240
    assert pictures[0, 1:].max() < 10
    assert np.abs(pictures[1].astype(int) - 128).max() < 5
    assert not pictures[2:].any()


def test_a_folder_without_posters_means_no_posters(films: Dataset) -> None:
    pictures, present = load_posters(replace(films, items=replace(films.items, poster_folder=None)))

    assert not present.any()
    assert not pictures.any()


def test_the_synthetic_world_draws_a_poster_for_every_item() -> None:
    world = synthetic_world(seed=1, users=20, items=50, events=400)
    pictures, present = load_posters(world)

    assert present.all()
    assert len(np.unique(pictures.reshape(50, -1), axis=0)) == 50


def test_a_damaged_poster_is_named(films: Dataset) -> None:
    assert films.items.poster_folder is not None
    path = films.items.poster_folder / f"{films.items.ids[3]}.jpg"
    path.write_bytes(b"not a picture")

    with pytest.raises(DataError, match=f"{films.items.ids[3]}.jpg"):
        load_posters(films)
