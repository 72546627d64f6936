"""Posters of a dataset's items as small pictures: files where a folder holds them, drawn ones for the synthetic world.

Nothing is read until a model asks, so that only models that look at posters pay for them.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from recstack.data.dataset import Dataset
from recstack.data.poster import render_poster
from recstack.errors import DataError

HEIGHT, WIDTH = 48, 32
"""Pixels of a poster as models see it: half of a thumbnail's, which trains four times as fast."""


def load_posters(dataset: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures [I, 3, HEIGHT, WIDTH] (RGB) and whether each item has one [I]; those without are black.

    A poster is the file `<item id>.jpg` of `dataset.items.poster_folder`; the synthetic world's are drawn. Raises
    DataError for a file that is no picture.
    """
    items = dataset.items
    pictures = np.zeros((len(items.ids), 3, HEIGHT, WIDTH), np.uint8)
    present = np.zeros(len(items.ids), np.bool_)
    for row, item_id in enumerate(items.ids.tolist()):
        if items.poster_folder is not None:
            poster = _read(items.poster_folder / f"{item_id}.jpg")
        elif dataset.name == "synthetic":
            poster = render_poster(items, row)
        else:
            break
        if poster is not None:
            reduced = poster.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
            pictures[row] = np.asarray(reduced).transpose(2, 0, 1)
            present[row] = True
    return pictures, present


def _read(path: Path) -> Image.Image | None:
    """The picture in a file; None where there is no file."""
    if not path.exists():
        return None
    try:
        with Image.open(path) as poster:
            poster.load()
            return poster
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is no picture that can be read: {error}. Replace or remove the file.") from error
