"""Described datasets: Parquet there and back, ML-100k-style text, plain lists of events, and bad input."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recstack.data import synthetic_world
from recstack.data.described import read_described
from recstack.data.description import find_description, read_description
from recstack.data.parquet import write_parquet
from recstack.errors import DataError
from recstack.features.schema import genre_names


def described(folder: Path, text: str) -> Path:
    path = folder / "dataset.yaml"
    path.write_text(text)
    return path


def test_a_dataset_is_the_same_after_parquet(tmp_path: Path) -> None:
    world = synthetic_world(seed=4, users=60, items=80, events=2_000)
    again = read_described(write_parquet(world, tmp_path / "data"))
    for part in ("users", "items", "events"):
        before, after = getattr(world, part), getattr(again, part)
        for name in type(before).__dataclass_fields__:
            if name != "poster_folder":
                np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=f"{part}.{name}")
    assert find_description(tmp_path / "data") == tmp_path / "data" / "dataset.yaml"


def test_tables_in_the_style_of_movielens_100k(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("7\t2\t4\t881250949\n3\t1\t2\t881250000\n")
    (tmp_path / "u.user").write_text("3|24|M|technician|85711\n7|53|F|other|T8H1N\n")
    (tmp_path / "u.item").write_bytes('1|Caf\xe9 "X" (1995)|0|1|1\n2|Untitled|1|0|0\n'.encode("latin-1"))
    data = read_described(
        described(
            tmp_path,
            """
name: films
events:
  path: u.data
  separator: "\\t"
  header: [user_id, item_id, rating, time]
  columns: {rating: rating, time: time}
users:
  path: u.user
  separator: "|"
  header: [user_id, age, gender, occupation, zip]
  columns: {age: age, gender: gender, occupation: occupation, region: zip}
  occupations: [other, technician]
items:
  path: u.item
  separator: "|"
  encoding: latin-1
  header: [item_id, title, unknown, Comedy, Drama]
  columns: {title: title}
  genre_flags: [unknown, Comedy, Drama]
""",
        )
    )
    assert data.events.timestamp_ms.tolist() == [881250000000, 881250949000]
    assert data.users.ids[data.events.user].tolist() == [3, 7]
    assert data.events.rating.tolist() == [2, 4]
    assert data.users.profiles().tolist() == [[2, 2, 2, 9], [1, 6, 1, 0]]
    assert data.items.titles == ('Café "X"', "Untitled")
    assert data.items.years.tolist() == [1995, 0]
    assert [genre_names(row) for row in data.items.genres] == [("Comedy", "Drama"), ()]


def test_a_plain_list_of_users_items_and_times_is_enough(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n5,9,200\n5,8,100\n4,9,300\n")
    data = read_described(described(tmp_path, "name: plain\nevents: {path: events.csv, columns: {time: time}}"))
    assert data.users.ids.tolist() == [4, 5]
    assert data.items.ids[data.events.item].tolist() == [8, 9, 9]
    assert data.events.rating.tolist() == [5, 5, 5]
    assert data.file_row is not None
    assert data.file_row.tolist() == [1, 0, 2]


def test_without_times_the_file_is_in_order(tmp_path: Path) -> None:
    (tmp_path / "events.txt").write_text("5 9\n5 8\n")
    text = 'name: plain\nevents: {path: events.txt, separator: " ", header: [user_id, item_id], columns: {}}'
    data = read_described(described(tmp_path, text))
    assert data.items.ids[data.events.item].tolist() == [9, 8]
    assert data.events.timestamp_ms.tolist() == [0, 1000]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nevents: {path: e.csv, columns: {}, seperator: ';'}", "events.seperator: Extra inputs"),
        ("name: X y\nevents: {path: e.csv, columns: {}}", "name: String should match"),
        ("events: {path: e.csv, columns: {}}", "name: Field required"),
        ("name: x\nevents: {path: no.csv, columns: {}}", "no.csv does not exist"),
        (
            "name: x\nevents: {path: e.csv, columns: {user: who}}",
            "has no column 'who'; it has user_id, item_id, rating",
        ),
        ("name: x\nevents: {path: e.csv, columns: {rating: rating}}", "ratings go from 0 to 5; scale them"),
        ("name: x\nevents: {path: e.csv, columns: {item: name}}", "ids are whole numbers above 0"),
        ("name: [", "cannot read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id,rating,name\n1,2,0,a\n1,3,5,b\n")
    with pytest.raises(DataError, match=expected.replace("(", r"\(")):
        read_described(described(tmp_path, text))


def test_events_of_users_that_the_table_lacks_are_named(tmp_path: Path) -> None:
    path = write_parquet(synthetic_world(seed=4, users=30, items=60, events=700), tmp_path)
    users = pq.read_table(tmp_path / "users.parquet")
    pq.write_table(users.slice(1), tmp_path / "users.parquet")
    with pytest.raises(DataError, match=f"events name users .* for example user {users['user_id'][0]}"):
        read_described(path)


def test_an_id_twice_is_named(tmp_path: Path) -> None:
    path = write_parquet(synthetic_world(seed=4, users=30, items=60, events=700), tmp_path)
    items = pq.read_table(tmp_path / "items.parquet")
    pq.write_table(pa.concat_tables([items, items.slice(3, 1)]), tmp_path / "items.parquet")
    with pytest.raises(DataError, match=f"id {items['item_id'][3]} occurs more than once"):
        read_described(path)


def test_the_description_in_a_folder_is_found_and_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("")
    assert find_description(tmp_path) is None
    assert find_description(tmp_path / "ratings.dat") is None
    path = described(tmp_path, "name: x\nevents: {path: e.csv, columns: {}}")
    assert read_description(path).name == "x"
