"""The leave-one-out file and protocol S1: what is read, held out, known, and how it is judged."""

from pathlib import Path

import numpy as np
import pytest

from recstack.data.dataset import Dataset
from recstack.data.sasrec import read_sasrec
from recstack.errors import DataError, InvalidRequestError
from recstack.evaluation.leave_one_out import leave_one_out_metrics, leave_one_out_split, next_item_cases
from recstack.evaluation.retrieval_metrics import rank_unseen

LINES = ["1 7", "1 3", "1 9", "1 4", "2 3", "2 7", "5 9", "5 3", "5 7"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    path = tmp_path / "small.txt"
    path.write_text("\n".join(LINES) + "\n")
    return read_sasrec(path)


def events_of(dataset: Dataset, rows: np.ndarray) -> set[tuple[int, int]]:
    events = dataset.events
    return {(int(dataset.users.ids[events.user[row]]), int(dataset.items.ids[events.item[row]])) for row in rows}


def test_the_file_is_read_in_each_users_order(dataset: Dataset) -> None:
    assert dataset.name == "small-sasrec"
    assert dataset.users.ids.tolist() == [1, 2, 5]
    assert dataset.items.ids.tolist() == [3, 4, 7, 9]
    assert dataset.file_row is not None
    events = dataset.events
    assert (np.diff(events.timestamp_ms) >= 0).all()
    for row, source in enumerate(dataset.file_row):
        user, item = LINES[source].split()
        assert events_of(dataset, np.array([row])) == {(int(user), int(item))}
    for user in range(3):
        assert (np.diff(dataset.file_row[events.user == user]) > 0).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2\n1\n", "line 2: got '1'"),
        ("1 2\n1 x\n", "line 2: got '1 x'"),
        ("0 2\n", "line 1"),
        ("1 2\n2 2\n1 2\n", "line 3: user 1 has item 2 again"),
        ("", "is empty"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_sasrec(path)
    with pytest.raises(DataError, match="cannot read"):
        read_sasrec(tmp_path / "missing.txt")


def test_the_last_two_events_are_held_out(dataset: Dataset) -> None:
    split = leave_one_out_split(dataset)
    assert split.temporal
    assert events_of(dataset, split.test) == {(1, 4), (5, 7)}
    assert events_of(dataset, split.validation) == {(1, 9), (5, 3)}
    assert events_of(dataset, split.train) == {(1, 7), (1, 3), (2, 3), (2, 7), (5, 9)}


def test_validation_users_are_the_published_ones(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"{user} {item}\n" for user in range(1, 601) for item in (1, 2, 3)))
    dataset = read_sasrec(path)
    split = leave_one_out_split(dataset)
    chosen = np.random.RandomState(42).choice(600, 512, replace=False)
    assert sorted(dataset.events.user[split.validation].tolist()) == sorted(chosen.tolist())
    assert (len(split.train), len(split.test)) == (600, 600)


def test_a_case_knows_all_that_came_before_and_nothing_else(dataset: Dataset) -> None:
    cases = next_item_cases(dataset, leave_one_out_split(dataset).test)
    assert cases.users.tolist() == [0, 2]
    assert [dataset.events.item[rows].tolist() for rows in cases.histories] == [[2, 0, 3], [3, 0]]
    assert cases.seen.toarray().tolist() == [[1, 0, 1, 1], [1, 0, 0, 1]]
    assert cases.truth.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    batch = cases.user_batch(slice(0, 2), 2)
    assert batch.items_BL.tolist() == [[1, 4], [4, 1]]
    with pytest.raises(InvalidRequestError, match="two of the rows"):
        next_item_cases(dataset, np.arange(len(dataset.events)))


def test_seen_items_are_passed_over_and_ties_are_in_item_order(dataset: Dataset) -> None:
    cases = next_item_cases(dataset, leave_one_out_split(dataset).test)
    scores = np.array([[9, 1, 9, 9], [0, 5, 5, 0]], np.float32)
    metrics = leave_one_out_metrics(rank_unseen(scores, cases.seen, 100), cases.truth)
    # The first user's item is the only unseen one; the second's ties with an item of a lower row, hence rank 2.
    assert metrics["hr@10"] == metrics["hr@50"] == metrics["hr@100"] == 1.0
    assert metrics["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    with pytest.raises(InvalidRequestError, match="HR@100"):
        leave_one_out_metrics(rank_unseen(scores, cases.seen, 2), cases.truth)
