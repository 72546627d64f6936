import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recstack.data import Events, UserSequences, synthetic_world

USERS = 5
LOGS = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, 12)), max_size=50).map(
    lambda pairs: sorted(pairs, key=lambda pair: pair[1])
)
"""(user, timestamp) pairs in time order, with many ties."""


def events_of(log: list[tuple[int, int]]) -> Events:
    users, timestamps = np.array(log, np.int64).reshape(-1, 2).T
    zeros = np.zeros(len(log), np.int32)
    return Events(users.astype(np.int32), zeros, zeros.astype(np.float32), timestamps)


@settings(deadline=None)
@given(LOGS)
def test_a_history_is_exactly_the_users_strictly_earlier_events(log: list[tuple[int, int]]) -> None:
    sequences = UserSequences.build(events_of(log), USERS)

    for row, (user, timestamp) in enumerate(log):
        start = sequences.offsets[user]
        history = sequences.events[start : start + sequences.prior[row]]
        assert history.tolist() == [other for other, (owner, at) in enumerate(log) if owner == user and at < timestamp]


@settings(deadline=None)
@given(LOGS, st.integers(-1, 14))
def test_a_cut_off_hides_everything_at_or_after_it(log: list[tuple[int, int]], cut: int) -> None:
    sequences = UserSequences.build(events_of(log), USERS)
    counts = sequences.counts_before(cut)

    for user in range(USERS):
        known = [row for row, (owner, at) in enumerate(log) if owner == user and at < cut]
        start = sequences.offsets[user]
        assert sequences.events[start : start + counts[user]].tolist() == known


@settings(deadline=None)
@given(LOGS)
def test_every_event_belongs_to_its_user_once(log: list[tuple[int, int]]) -> None:
    sequences = UserSequences.build(events_of(log), USERS)

    assert sorted(sequences.events.tolist()) == list(range(len(log)))
    assert len(sequences) == USERS
    for user in range(USERS):
        assert sequences.of(user).tolist() == [row for row, (owner, _) in enumerate(log) if owner == user]


@settings(deadline=None)
@given(LOGS, st.integers(0, 12))
def test_the_future_cannot_change_a_history(log: list[tuple[int, int]], now: int) -> None:
    past = [pair for pair in log if pair[1] <= now]
    whole = UserSequences.build(events_of(log), USERS)
    short = UserSequences.build(events_of(past), USERS)

    np.testing.assert_array_equal(whole.prior[: len(past)], short.prior)
    for user in range(USERS):
        known = len(short.of(user))
        np.testing.assert_array_equal(whole.of(user)[:known], short.of(user))


def test_ties_of_the_synthetic_world_never_see_each_other() -> None:
    world = synthetic_world(users=50, items=100, events=2000)
    sequences = UserSequences.build(world.events, 50)
    times = world.events.timestamp_ms

    ties = 0
    for user in range(50):
        rows = sequences.of(user)
        ties += len(rows) - len(np.unique(times[rows]))
        for row in rows:
            assert (times[rows[: sequences.prior[row]]] < times[row]).all()
            assert (times[rows[sequences.prior[row] :]] >= times[row]).all()
    assert ties > 100
