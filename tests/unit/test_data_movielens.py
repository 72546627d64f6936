import re
from pathlib import Path

import numpy as np
import pytest

from recstack.data import movielens, read_movielens, synthetic_world, write_movielens
from recstack.data.resolve import SHARED_COPY
from recstack.errors import DataError

USERS = "2::M::56::16::70072\n1::F::1::10::V8V-1A1\n"
MOVIES = (
    "20::Café des Ombres, Le (1999)::Drama|Film-Noir\n"
    "10::Piñata 2 (The Return) (1984)::Animation|Children's|Comedy\n"
    "30::Undated::Western\n"
)
RATINGS = "2::30::4::978300762\n1::20::3::978300761\n2::10::5::978300761\n1::10::1::978300760\n"


def write(folder: Path, users: str = USERS, movies: str = MOVIES, ratings: str = RATINGS) -> Path:
    for name, text in (("users.dat", users), ("movies.dat", movies), ("ratings.dat", ratings)):
        (folder / name).write_bytes(text.encode("latin-1"))
    return folder


def test_columns_follow_the_schema(tmp_path: Path) -> None:
    data = read_movielens(write(tmp_path))

    assert data.users.ids.tolist() == [1, 2]
    assert data.users.profiles().tolist() == [[1, 1, 11, 0], [2, 7, 17, 8]]
    assert data.items.ids.tolist() == [10, 20, 30]
    assert data.items.titles == ("Piñata 2 (The Return)", "Café des Ombres, Le", "Undated")
    assert data.items.years.tolist() == [1984, 1999, 0]
    assert data.items.genres.tolist() == [[3, 4, 5, 0, 0, 0], [8, 10, 0, 0, 0, 0], [18, 0, 0, 0, 0, 0]]


def test_events_are_in_time_order_and_ties_keep_file_order(tmp_path: Path) -> None:
    events = read_movielens(write(tmp_path)).events

    assert events.timestamp_ms.tolist() == [978300760000, 978300761000, 978300761000, 978300762000]
    assert events.user.tolist() == [0, 0, 1, 1]
    assert events.item.tolist() == [0, 1, 0, 2]
    assert events.rating.tolist() == [1, 3, 5, 4]
    dtypes = [column.dtype for column in (events.user, events.item, events.rating, events.timestamp_ms)]
    assert dtypes == [np.int32, np.int32, np.float32, np.int64]


@pytest.mark.parametrize("change", [lambda s: s.replace("\n", "\r\n"), lambda s: s.rstrip("\n")])
def test_windows_line_ends_and_a_missing_last_newline_are_fine(tmp_path: Path, change) -> None:
    data = read_movielens(write(tmp_path, change(USERS), change(MOVIES), change(RATINGS)))

    assert len(data.events) == 4
    assert data.items.titles[2] == "Undated"


@pytest.mark.parametrize(
    ("file", "text", "line", "got"),
    [
        ("users", USERS + "3::M::25::15\n", 3, "3::M::25::15"),
        ("users", USERS + "3::X::25::15::55117\n", 3, "X"),
        ("users", USERS + "3::M::26::15::55117\n", 3, "26"),
        ("users", USERS + "3::M::25::21::55117\n", 3, "21"),
        ("users", USERS + "2::M::25::15::55117\n", 3, "2"),
        ("users", "", 1, ""),
        ("movies", MOVIES + "40 No separators\n", 4, "40 No separators"),
        ("movies", MOVIES + "40::Odd (2000)::Drama|Slapstick\n", 4, "Slapstick"),
        ("movies", MOVIES + "10::Again (2000)::Drama\n", 4, "10"),
        ("ratings", RATINGS + "1::10::3\n", 5, "1::10::3"),
        ("ratings", "1::10::3.5::978300760\n" + RATINGS, 1, "1::10::3.5::978300760"),
        ("ratings", RATINGS + "1::10::0::978300760\n", 5, "1::10::0::978300760"),
        ("ratings", RATINGS + "1::10::5::978300760::7\n", 5, "1::10::5::978300760::7"),
        ("ratings", RATINGS + "\n" + RATINGS, 5, ""),
        ("ratings", RATINGS + "9::10::5::978300760\n", 5, "9"),
        ("ratings", RATINGS + "1::15::5::978300760\n", 5, "15"),
        ("ratings", "", 1, ""),
    ],
)
def test_a_malformed_row_is_one_error_that_says_where_and_what(
    tmp_path: Path, file: str, text: str, line: int, got: str
) -> None:
    write(tmp_path, **{file: text})

    with pytest.raises(DataError, match=re.escape(f"{file}.dat, line {line}: got {got!r}, expected ")):
        read_movielens(tmp_path)


@pytest.mark.parametrize("name", movielens.FILES)
def test_a_missing_file_is_named_with_a_way_to_get_it(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()

    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path / name))}: No such file.*grouplens\.org"):
        read_movielens(tmp_path)


@pytest.mark.parametrize(
    ("constant", "name", "words"),
    [
        # What `git hash-object` and `md5sum` say of the file below.
        (("OFFICIAL_GIT_BLOB", "ed3b4b79fe9d1eae8d35e3e62413a167dbc8d19a"), "ml-1m", "the official ratings file"),
        (
            ("INTERPOLATED_MD5", "f8a02528ac18698e66b48f3448090024"),
            "ml-1m",
            "a copy with partly interpolated timestamps",
        ),
        (None, "movielens", "an unrecognised ratings file"),
    ],
)
def test_provenance_says_which_ratings_file_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: tuple[str, str] | None, name: str, words: str
) -> None:
    write(tmp_path, ratings="1::10::5::978300760\n")
    if constant is not None:
        monkeypatch.setattr(movielens, *constant)

    data = read_movielens(tmp_path)

    assert data.name == name
    assert words in data.provenance
    assert data.provenance.endswith("2 users, 3 movies, 1 ratings")


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    world = synthetic_world(seed=3, users=60, items=80, events=1500)

    write_movielens(world, tmp_path / "new" / "folder")
    back = read_movielens(tmp_path / "new" / "folder")

    assert back.items.titles == world.items.titles
    for table in ("users", "items", "events"):
        for column in type(getattr(world, table)).__slots__:
            mine, theirs = getattr(getattr(back, table), column), getattr(getattr(world, table), column)
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{table}.{column}")


@pytest.mark.skipif(not SHARED_COPY.is_dir(), reason=f"no MovieLens-1M in {SHARED_COPY}")
def test_movielens_1m_has_its_published_counts() -> None:
    data = read_movielens(SHARED_COPY)

    assert data.name == "ml-1m"
    assert (len(data.users.ids), len(data.items.ids), len(data.events)) == (6040, 3883, 1_000_209)
    assert np.bincount(data.events.user).min() == 20
    assert data.items.years.min() == 1919
    assert data.items.years.max() == 2000
