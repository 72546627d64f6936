"""Who is judged, on what, and that nothing after the cut leaks into what a model is given."""

from dataclasses import replace

import numpy as np
import pytest

from recstack.data.sequences import UserSequences
from recstack.data.splits import temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.errors import DataError
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.features.schema import LIKED_FROM

WORLD = synthetic_world(seed=2, users=120, items=150, events=4_000)
SPLIT = temporal_split(WORLD)
SEQUENCES = UserSequences.build(WORLD.events, 120)


def test_cases_equal_a_slow_reading_of_the_protocol() -> None:
    events, start = WORLD.events, SPLIT.test.start
    cases = RetrievalCases.build(WORLD, SEQUENCES, SPLIT.test)
    expected = {}
    for user in range(120):
        rows = np.flatnonzero(events.user == user)
        seen = set(events.item[rows[rows < start]].tolist())
        later = rows[(rows >= start) & (events.rating[rows] >= LIKED_FROM)]
        truth = set(events.item[later].tolist()) - seen
        if truth:
            expected[user] = (seen, truth, rows[rows < start].tolist())
    assert cases.users.tolist() == list(expected)
    for case, (seen, truth, history) in enumerate(expected.values()):
        assert set(cases.seen[case].indices.tolist()) == seen
        assert set(cases.truth[case].indices.tolist()) == truth
        assert cases.histories[case].tolist() == history
        liked = {int(events.item[row]) for row in history if events.rating[row] >= LIKED_FROM}
        assert set(cases.liked()[case].indices.tolist()) == liked
    assert cases.warm.tolist() == [bool(history) for _, _, history in expected.values()]


def test_model_input_is_the_end_of_the_history() -> None:
    cases = RetrievalCases.build(WORLD, SEQUENCES, SPLIT.test)
    batch = cases.user_batch(slice(0, 5), max_length=6)
    for case in range(5):
        rows = cases.histories[case][-6:]
        assert batch.lengths_B[case] == len(rows)
        assert batch.items_BL[case, : len(rows)].tolist() == (WORLD.events.item[rows] + 1).tolist()
        assert batch.ratings_BL[case, : len(rows)].tolist() == WORLD.events.rating[rows].astype(int).tolist()


def test_an_item_liked_again_is_not_a_truth() -> None:
    """The ranking leaves out what was seen, so a truth that was seen could never be found."""
    events = WORLD.events
    row = int(SEQUENCES.of(int(events.user[SPLIT.test.start]))[0])
    assert row < SPLIT.test.start
    item = events.item.copy()
    item[SPLIT.test.start] = item[row]
    rating = events.rating.copy()
    rating[SPLIT.test.start] = 5.0
    again = replace(WORLD, events=replace(events, item=item, rating=rating))
    cases = RetrievalCases.build(again, SEQUENCES, SPLIT.test)
    assert cases.truth.multiply(cases.seen).nnz == 0


def test_a_window_without_likes_is_an_error() -> None:
    dislike = int(np.flatnonzero(WORLD.events.rating < LIKED_FROM)[0])
    with pytest.raises(DataError, match="longer window"):
        RetrievalCases.build(WORLD, SEQUENCES, slice(dislike, dislike + 1))
