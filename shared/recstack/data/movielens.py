"""Reader of data in MovieLens-1M's format: users.dat, movies.dat and ratings.dat, '::'-separated, latin-1.

Source: F. M. Harper and J. A. Konstan, 2015, The MovieLens Datasets: History and Context. Its licence forbids
redistribution, so everybody downloads it from GroupLens; this reader says which ratings file it was given.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.errors import DataError
from recstack.features.schema import AGE_BANDS, GENRES, MAX_GENRES, NUM_OCCUPATIONS

FILES = ("users.dat", "movies.dat", "ratings.dat")
"""What a data folder must hold."""

HOW_TO_GET = (
    "Download https://files.grouplens.org/datasets/movielens/ml-1m.zip, unpack it and give the folder that "
    "holds users.dat, movies.dat and ratings.dat."
)

OFFICIAL_GIT_BLOB = "77a7c4b150f588c23bb9e1f068aa996c0b413695"
INTERPOLATED_MD5 = "e89cc02d47f831f3fd4983f62fd3e0c0"

_GENDERS = {"F": 1, "M": 2}
_AGES = {str(code): position + 1 for position, code in enumerate(AGE_BANDS)}
_GENRE_IDS = {genre: position + 1 for position, genre in enumerate(GENRES)}

_USER = re.compile(r"(\d{1,9})::([^:]*)::([^:]*)::(\d{1,2})::(.*)")
_MOVIE = re.compile(r"(\d{1,9})::(.+)::(.+)")
_TITLE_AND_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)")
_RATINGS = re.compile(rb"(?:\d{1,9}+::\d{1,9}+::[1-5]::\d{1,10}+\r?\n)*+")
_COLON_TO_SPACE = bytes.maketrans(b":", b" ")


def read_movielens(folder: Path) -> Dataset:
    """Read a folder in MovieLens-1M's format.

    Titles lose their trailing "(year)", which becomes the year. Posters are optional: a folder `posters` beside the
    files, with `<MovieID>.jpg` for some or all movies. The dataset's name is "ml-1m" where the ratings
    are a known copy of MovieLens-1M and "movielens" for any other.

    Raises DataError where a file is missing, a row is malformed, an id occurs twice, or a rating names a user or
    movie that does not exist; the message names the file and the line.
    """
    users = _read_users(folder / "users.dat")
    items = _read_movies(folder / "movies.dat")
    ratings_path = folder / "ratings.dat"
    ratings = _content(ratings_path)
    events, file_row = _parse_ratings(ratings_path, ratings, users, items)
    name, which = _identify(ratings)
    counts = f"{len(users.ids):,} users, {len(items.ids):,} movies, {len(events):,} ratings"
    return Dataset(name, f"{which}, from {folder}: {counts}", users, items, events, file_row)


def _identify(ratings: bytes) -> tuple[str, str]:
    """Name of the dataset, and which ratings file this is in words."""
    # A git blob's hash covers its size too, so one comparison checks both.
    blob = hashlib.sha1(b"blob %d\0" % len(ratings) + ratings, usedforsecurity=False).hexdigest()
    if blob == OFFICIAL_GIT_BLOB:
        return "ml-1m", "MovieLens-1M, the official ratings file"
    if hashlib.md5(ratings, usedforsecurity=False).hexdigest() == INTERPOLATED_MD5:
        return "ml-1m", "MovieLens-1M, a copy with partly interpolated timestamps"
    return "movielens", "data in MovieLens-1M's format, an unrecognised ratings file"


def _content(path: Path) -> bytes:
    """Bytes of a file, ending in a newline."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. {HOW_TO_GET}") from error
    return content if content.endswith(b"\n") else content + b"\n"


def _malformed(path: Path, line: int, got: str, expected: str) -> DataError:
    shown = got if len(got) <= 80 else got[:77] + "..."
    return DataError(
        f"{path}, line {line}: got {shown!r}, expected {expected}. Correct the line or get a fresh copy of the file."
    )


def _rows(path: Path, pattern: re.Pattern[str], expected: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line number and fields of every line of a small file."""
    lines = _content(path).decode("latin-1").split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        match = pattern.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise _malformed(path, number, line, expected)
        yield number, match.groups()


def _ascending(path: Path, ids: list[int]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Ids in ascending order and the order that sorts them; DataError where one occurs twice."""
    column = np.array(ids, np.int64)
    order = np.argsort(column, kind="stable")
    ascending = column[order]
    repeated = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(repeated):
        line = int(order[repeated[0] + 1]) + 1
        raise _malformed(path, line, str(ascending[repeated[0]]), "an id that no earlier line has")
    return ascending, order


def _read_users(path: Path) -> Users:
    expected = "UserID::Gender::Age::Occupation::Zip-code"
    ids: list[int] = []
    profiles: list[tuple[int, int, int, int]] = []
    for line, (user_id, gender, age, occupation, zip_code) in _rows(path, _USER, expected):
        if gender not in _GENDERS:
            raise _malformed(path, line, gender, "a gender, F or M")
        if age not in _AGES:
            raise _malformed(path, line, age, f"an age code, one of {', '.join(_AGES)}")
        if int(occupation) >= NUM_OCCUPATIONS:
            raise _malformed(path, line, occupation, f"an occupation, 0 to {NUM_OCCUPATIONS - 1}")
        region = int(zip_code[0]) + 1 if re.match("[0-9]", zip_code) else 0
        ids.append(int(user_id))
        profiles.append((_GENDERS[gender], _AGES[age], int(occupation) + 1, region))
    ascending, order = _ascending(path, ids)
    columns = np.array(profiles, np.uint8).reshape(-1, 4)[order]
    return Users(ascending, columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3])


def _read_movies(path: Path) -> Items:
    ids: list[int] = []
    titles: list[str] = []
    years: list[int] = []
    genres: list[list[int]] = []
    for line, (item_id, published, names) in _rows(path, _MOVIE, "MovieID::Title (Year)::Genre|Genre"):
        unknown = [name for name in names.split("|") if name not in _GENRE_IDS]
        if unknown:
            raise _malformed(path, line, unknown[0], f"genres out of {', '.join(GENRES)}")
        dated = _TITLE_AND_YEAR.fullmatch(published)
        ids.append(int(item_id))
        titles.append(dated[1] if dated else published)
        years.append(int(dated[2]) if dated else 0)
        kept = [_GENRE_IDS[name] for name in names.split("|")][:MAX_GENRES]
        genres.append(kept + [0] * (MAX_GENRES - len(kept)))
    ascending, order = _ascending(path, ids)
    posters = path.parent / "posters"
    return Items(
        ascending,
        tuple(titles[row] for row in order),
        np.array(years, np.int16)[order],
        np.array(genres, np.uint8).reshape(-1, MAX_GENRES)[order],
        posters if posters.is_dir() else None,
    )


def _parse_ratings(path: Path, content: bytes, users: Users, items: Items) -> tuple[Events, NDArray[np.int64]]:
    """Events in time order, and the row of the file that each was."""
    # One regular expression over the whole file checks a million lines in 50 ms, and where it stops is the bad line.
    match = _RATINGS.match(content)
    end = match.end() if match else 0
    if end < len(content):
        bad = content[end : content.index(b"\n", end)].decode("latin-1")
        line = content.count(b"\n", 0, end) + 1
        raise _malformed(path, line, bad, "UserID::MovieID::Rating::Timestamp with a rating of 1 to 5")
    columns = np.fromstring(content.translate(_COLON_TO_SPACE), np.int64, sep=" ").reshape(-1, 4)
    user = _rows_of(path, columns[:, 0], users.ids, "user id of users.dat")
    item = _rows_of(path, columns[:, 1], items.ids, "movie id of movies.dat")
    order = np.argsort(columns[:, 3], kind="stable")
    events = Events(
        user[order],
        item[order],
        columns[order, 2].astype(np.float32),
        columns[order, 3] * 1000,
    )
    return events, order.astype(np.int64)


def _rows_of(path: Path, ids: NDArray[np.int64], known: NDArray[np.int64], what: str) -> NDArray[np.int32]:
    """Row of each id in `known`, which is ascending; DataError names the first that is not there."""
    rows = np.searchsorted(known, ids)
    unknown = np.flatnonzero((rows == len(known)) | (known[np.minimum(rows, len(known) - 1)] != ids))
    if len(unknown):
        raise _malformed(path, int(unknown[0]) + 1, str(ids[unknown[0]]), f"a {what}")
    return rows.astype(np.int32)
