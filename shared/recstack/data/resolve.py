"""Which dataset to use: a folder that is named or found, a download, or the synthetic world."""

from collections.abc import Callable
from pathlib import Path

from recstack.data.dataset import Dataset
from recstack.data.described import read_described
from recstack.data.description import find_description
from recstack.data.download import ML_1M, Archive, download
from recstack.data.movielens import HOW_TO_GET, read_movielens
from recstack.data.synthetic import synthetic_world
from recstack.errors import DataError, UnavailableError

NAMES = ("auto", "ml-1m", "synthetic")
SHARED_COPY = Path("../shared/data/ml-1m")
"""A copy next to the checkout, relative to the current directory."""


def resolve_dataset(
    name: str = "auto",
    path: Path | None = None,
    home: Path = Path(".recstack"),
    archive: Archive | None = ML_1M,
    log: Callable[[str], None] = print,
) -> Dataset:
    """The dataset called `name`, or the one at `path` where that has a description (see `read_description`).

    "ml-1m"      MovieLens-1M from `path` if given, else from the first of: SHARED_COPY, `home`/data/ml-1m, a
                 download of `archive` into that cache (None: never use the network).
    "synthetic"  an invented world of the same form.
    "auto"       "ml-1m", or "synthetic" where the data is nowhere and cannot be downloaded.

    `log` gets one line that says what is used and, for the synthetic stand-in, how to get the real data. Raises
    DataError for an unknown name, a `path` without the data, malformed data, or "ml-1m" where it is nowhere.
    """
    description = find_description(path) if path is not None else None
    if description is not None:
        dataset = read_described(description)
        log(f"Data: {dataset.provenance}")
        return dataset
    if name not in NAMES:
        raise DataError(f"got dataset {name!r}, expected one of {', '.join(NAMES)}")
    if name == "synthetic":
        if path is not None:
            raise DataError(f"dataset 'synthetic' reads no files, but got the path {path}; leave one of them out")
        dataset = synthetic_world()
    else:
        dataset = _movielens(path, home, archive, log, stand_in=name == "auto")
    log(f"Data: {dataset.provenance}")
    return dataset


def _movielens(
    path: Path | None, home: Path, archive: Archive | None, log: Callable[[str], None], stand_in: bool
) -> Dataset:
    if path is not None:
        return read_movielens(path)
    cache = home / "data" / "ml-1m"
    for folder in (SHARED_COPY, cache):
        if folder.is_dir():
            return read_movielens(folder)
    why = "downloads are switched off."
    if archive is not None:
        log(f"Downloading MovieLens-1M (6 MB) from {archive.url} to {cache}")
        try:
            download(archive, cache)
        except (UnavailableError, DataError) as error:
            why = str(error)
        else:
            return read_movielens(cache)
    if not stand_in:
        raise DataError(f"MovieLens-1M is neither in {SHARED_COPY} nor in {cache}: {why} {HOW_TO_GET}")
    log(f"MovieLens-1M is not here: {why} Using an invented world instead. For the real data: {HOW_TO_GET}")
    return synthetic_world()
