import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstack.data import Dataset, Events, leave_last_out, synthetic_world, temporal_split
from recstack.data.resolve import SHARED_COPY, resolve_dataset
from recstack.data.splits import ML_1M_TEST_FROM_MS
from recstack.errors import DataError

WORLD = synthetic_world(users=1, items=40, events=20)


def events_at(timestamps: list[int], users: list[int] | None = None) -> Events:
    count = len(timestamps)
    user = np.array(users if users is not None else [0] * count, np.int32)
    return Events(user, np.zeros(count, np.int32), np.ones(count, np.float32), np.array(timestamps, np.int64))


def dataset_of(events: Events, name: str = "movielens") -> Dataset:
    return Dataset(name, "made for a test", WORLD.users, WORLD.items, events)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60).map(sorted))
def test_periods_are_consecutive_and_never_share_an_instant(timestamps: list[int]) -> None:
    try:
        split = temporal_split(dataset_of(events_at(timestamps)))
    except DataError:
        # Allowed only where two of the three periods would begin in the same instant.
        begins = {timestamps[int(share * len(timestamps))] for share in (0, 0.8, 0.9)}
        assert len(begins) < 3
        return
    train, validation, test = (timestamps[part] for part in (split.train, split.validation, split.test))
    assert train + validation + test == timestamps
    assert train[-1] < validation[0]
    assert validation[-1] < test[0]
    assert len(train) <= 0.8 * len(timestamps)
    assert len(test) >= 0.1 * len(timestamps)


def test_without_ties_the_shares_are_80_10_10() -> None:
    split = temporal_split(dataset_of(events_at(list(range(100)))))

    assert (split.train, split.validation, split.test) == (slice(0, 80), slice(80, 90), slice(90, 100))


def test_a_tie_at_the_cut_goes_to_validation_as_a_whole() -> None:
    timestamps = [*range(75), *[75] * 10, *range(85, 100)]

    assert temporal_split(dataset_of(events_at(timestamps))).train == slice(0, 75)


def test_movielens_1m_is_cut_at_a_fixed_instant() -> None:
    timestamps = [ML_1M_TEST_FROM_MS + offset for offset in (*range(-95, 0), *range(5))]

    split = temporal_split(dataset_of(events_at(timestamps), name="ml-1m"))

    assert (split.train, split.validation, split.test) == (slice(0, 80), slice(80, 95), slice(95, 100))


@pytest.mark.parametrize("timestamps", [[], [5], [5] * 100, [1, 2]])
def test_what_cannot_be_split_is_an_error(timestamps: list[int]) -> None:
    with pytest.raises(DataError, match="cannot split"):
        temporal_split(dataset_of(events_at(timestamps)))


def test_leave_last_out_keeps_short_users_in_train() -> None:
    #        user:                 0  1  0  2  0  2  2  1  2
    split = leave_last_out(events_at(list(range(9)), [0, 1, 0, 2, 0, 2, 2, 1, 2]))

    assert split.train.tolist() == [0, 1, 3, 5, 7]
    assert split.validation.tolist() == [2, 6]
    assert split.test.tolist() == [4, 8]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60))
def test_leave_last_out_by_brute_force(users: list[int]) -> None:
    split = leave_last_out(events_at([7] * len(users), users))

    train, validation, test = [], [], []
    for user in set(users):
        rows = [row for row, other in enumerate(users) if other == user]
        if len(rows) < 3:
            train += rows
        else:
            train += rows[:-2]
            validation.append(rows[-2])
            test.append(rows[-1])
    assert split.train.tolist() == sorted(train)
    assert split.validation.tolist() == sorted(validation)
    assert split.test.tolist() == sorted(test)


@pytest.mark.skipif(not SHARED_COPY.is_dir(), reason=f"no MovieLens-1M in {SHARED_COPY}")
def test_sizes_on_movielens_1m() -> None:
    split = temporal_split(resolve_dataset("ml-1m", path=SHARED_COPY))

    assert split.train.stop == pytest.approx(800_167, abs=200)
    assert split.test.stop - split.test.start == pytest.approx(99_600, abs=50)
