"""Merging keeps every candidate once, in a fair and repeatable order, with its provenance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.pipeline.merge import ChannelList, merge


def channel_list(channel: int, ids: list[int], weight: int = 100, seeds: list[int] | None = None) -> ChannelList:
    scores = np.linspace(1, 0, len(ids), dtype=np.float32)
    return ChannelList(channel, weight, np.array(ids, np.int64), scores, np.array(seeds or [], np.int64))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([], []),
        ([channel_list(1, [])], []),
        ([channel_list(1, [5, 6, 7])], [5, 6, 7]),
        ([channel_list(1, [1, 2]), channel_list(2, [3, 4])], [1, 3, 2, 4]),
        ([channel_list(1, [1, 2]), channel_list(2, [2, 1])], [1, 2]),
        ([channel_list(1, [1, 2, 3, 4], weight=200), channel_list(3, [8, 9], weight=100)], [1, 8, 2, 3, 9, 4]),
    ],
    ids=["nothing", "empty channel", "one channel", "equal weights", "overlap", "double weight"],
)
def test_interleaves_by_rank_and_weight(lists: list[ChannelList], expected: list[int]) -> None:
    assert merge(lists).item_id.tolist() == expected


def test_remembers_every_channel_that_recalled_an_item() -> None:
    candidates = merge([channel_list(1, [7, 8]), channel_list(2, [9, 8, 7], seeds=[100, 101, 102])])
    row = candidates.item_id.tolist().index(8)

    assert candidates.channel_mask[row] == 0b11
    assert candidates.recall_rank[row].tolist() == [2, 2, 0, 0, 0]
    assert candidates.recall_score[row, :2].tolist() == [0.0, 0.5]
    assert np.isnan(candidates.recall_score[row, 2:]).all()
    assert candidates.seed_item[row] == 101


def test_an_item_repeated_within_a_channel_keeps_its_better_place() -> None:
    candidates = merge([channel_list(1, [7, 8, 7])])

    assert candidates.item_id.tolist() == [7, 8]
    assert candidates.recall_rank[:, 0].tolist() == [1, 2]


def test_explained_items_are_appended_once_and_marked_as_not_recalled() -> None:
    candidates = merge([channel_list(1, [7, 8])], np.array([8, 99, 99]))

    assert candidates.item_id.tolist() == [7, 8, 99]
    assert candidates.recalled.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("channel", "weight", "scores", "seeds"), [(0, 1, 2, 0), (6, 1, 2, 0), (1, 0, 2, 0), (1, 1, 3, 0), (2, 1, 2, 1)]
)
def test_refuses_lists_that_break_the_contract(channel: int, weight: int, scores: int, seeds: int) -> None:
    with pytest.raises(ValueError, match=f"channel {channel}"):
        ChannelList(channel, weight, np.arange(2), np.zeros(scores, np.float32), np.arange(seeds))


id_lists = st.lists(st.integers(1, 60), unique=True, max_size=40)


@given(st.lists(id_lists, max_size=4), st.lists(st.integers(1, 400), min_size=4, max_size=4))
def test_no_candidate_is_lost_or_duplicated(ids: list[list[int]], weights: list[int]) -> None:
    lists = [channel_list(c + 1, one, weights[c]) for c, one in enumerate(ids)]

    candidates = merge(lists)

    assert sorted(candidates.item_id.tolist()) == sorted(set().union(*ids))
    for channel, one in enumerate(ids):
        rows = candidates.rows_of(np.array(one, np.int64))
        assert candidates.recall_rank[rows, channel].tolist() == list(range(1, len(one) + 1))
        assert (candidates.channel_mask[rows] >> channel & 1).all()
    assert candidates.item_id.tolist() == merge(lists[::-1]).item_id.tolist()
