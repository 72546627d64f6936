"""Merge of channel lists into distinct candidates that remember who recalled them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.features.channels import CHANNELS
from services.gateway.pipeline.candidates import Candidates
from services.gateway.pipeline.query import NO_IDS


@dataclass(frozen=True, slots=True, eq=False)
class ChannelList:
    """What one channel recalled, best first.

    channel: number of the contract, 1..C. weight: how many candidates were asked of it, > 0; a channel with twice the
    weight takes twice as many places when lists are interleaved. item_ids int64 and scores float32 are parallel;
    seed_item_ids is parallel too, or empty. constrained: the caller's genre and year limits have been applied.
    Raises ValueError when columns differ in length.
    """

    channel: int
    weight: int
    item_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    seed_item_ids: NDArray[np.int64]
    constrained: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.channel <= len(CHANNELS) or self.weight < 1:
            raise ValueError(f"channel {self.channel} with weight {self.weight}; expected 1..{len(CHANNELS)} and >= 1")
        count = len(self.item_ids)
        if len(self.scores) != count or len(self.seed_item_ids) not in (0, count):
            raise ValueError(
                f"channel {self.channel} has {count} items, {len(self.scores)} scores and "
                f"{len(self.seed_item_ids)} seeds; expected one of each per item"
            )


def merge(lists: Sequence[ChannelList], explained_item_ids: NDArray[np.int64] = NO_IDS) -> Candidates:
    """Interleave `lists` into distinct candidates, then append explained items that nobody recalled.

    Places are taken in order of (rank - 1/2) / weight, lower channel first on ties; an item recalled twice keeps its
    earlier place and the provenance of both. The result depends on nothing but the arguments.
    """
    ordered = sorted(lists, key=lambda one: one.channel)
    item_ids = np.concatenate([NO_IDS, *(one.item_ids for one in ordered), explained_item_ids])
    places = [(np.arange(len(one.item_ids)) + 0.5) / one.weight for one in ordered]
    by_place = np.argsort(np.concatenate([*places, np.full(len(explained_item_ids), np.inf)]), kind="stable")
    distinct, rows = _rows(item_ids, by_place)
    candidates = Candidates.unmarked(distinct)
    start = 0
    for one in ordered:
        stop = start + len(one.item_ids)
        _mark(candidates, one, rows[start:stop])
        start = stop
    return candidates


def _rows(item_ids: NDArray[np.int64], order: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Distinct ids by first appearance in `order`, and the row of each of `item_ids` among them."""
    distinct, first, inverse = np.unique(item_ids[order], return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    row_of_distinct = np.empty_like(by_first)
    row_of_distinct[by_first] = np.arange(len(by_first))
    rows = np.empty_like(order)
    rows[order] = row_of_distinct[inverse]
    return distinct[by_first], rows


def _mark(candidates: Candidates, one: ChannelList, rows: NDArray[np.intp]) -> None:
    """Write one list's provenance into freshly made candidates, which nobody else has seen yet."""
    # Worst first: should a channel repeat an item against its contract, the better place is written last and stays.
    worst_first = rows[::-1]
    column = one.channel - 1
    candidates.channel_mask[worst_first] |= np.uint32(1 << column)
    candidates.recall_rank[worst_first, column] = np.arange(len(rows), 0, -1)
    candidates.recall_score[worst_first, column] = one.scores[::-1]
    if len(one.seed_item_ids):
        candidates.seed_item[worst_first] = one.seed_item_ids[::-1]
    if one.constrained:
        candidates.constrained[rows] = True
