"""From checked protobuf requests to the engine's values, and back. Columns move as arrays, never value by value."""

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1.common_pb2 import Channel, UserProfile
from recstack.api.common.v1.common_pb2 import History as HistoryMessage
from recstack.api.retrieval.v1 import retrieval_pb2 as pb
from recstack.errors import InvalidRequestError
from recstack.features.batch import History
from recstack.features.schema import GENRES, PROFILE_SIZES
from recstack.rpc.limits import check_columns, check_count, check_range
from services.retrieval.engine import ChannelCandidates
from services.retrieval.item_filter import ItemFilter

MAX_EXCLUDED = 100_000
"""Excluded ids per request; far above any stored history, and still answered within milliseconds."""


def profile_ids(profile: UserProfile) -> NDArray[np.int64]:
    """[4] ids of a profile, each within its vocabulary."""
    ids = [getattr(profile, name) for name in PROFILE_SIZES]
    for (name, size), value in zip(PROFILE_SIZES.items(), ids, strict=True):
        check_range(f"profile.{name}", value, 0, size - 1)
    return np.array(ids, np.int64)


def history_columns(history: HistoryMessage, max_history: int) -> History:
    """A history's columns: parallel, positive ids, in time order, ratings 0..5."""
    columns: dict[str, Sized] = {
        "history.item_ids": history.item_ids,
        "history.timestamps_ms": history.timestamps_ms,
        "history.ratings": history.ratings,
    }
    check_columns(**columns)
    check_count("history.item_ids", history.item_ids, 0, max_history)
    item_ids = positive_ids("history.item_ids", history.item_ids)
    timestamps_ms = np.array(history.timestamps_ms, np.int64)
    ratings = np.array(history.ratings, np.float32)
    if (np.diff(timestamps_ms) < 0).any():
        raise InvalidRequestError("history.timestamps_ms decreases; send events oldest first")
    if not ((ratings >= 0) & (ratings <= 5)).all():
        raise InvalidRequestError("history.ratings has a value outside 0..5; use 0 where the user gave no rating")
    return History(item_ids, timestamps_ms, ratings)


def channels_and_counts(channels: Sequence[pb.ChannelRequest], max_k: int) -> list[tuple[Channel.ValueType, int]]:
    """The asked channels with their k: at least one, each known and asked once."""
    if not channels:
        raise InvalidRequestError("channels is empty; ask at least one channel")
    asked: set[Channel.ValueType] = set()
    for request in channels:
        channel = request.channel
        if channel == Channel.CHANNEL_UNSPECIFIED or channel not in Channel.values():
            known = ", ".join(Channel.keys()[1:])
            raise InvalidRequestError(f"channels has channel {channel}; the channels are {known}")
        if channel in asked:
            raise InvalidRequestError(f"channels has {Channel.Name(channel)} twice; ask each channel at most once")
        asked.add(channel)
        check_range(f"k of {Channel.Name(channel)}", request.k, 1, max_k)
    return [(request.channel, request.k) for request in channels]


def item_filter(message: pb.ItemFilter) -> ItemFilter:
    """A filter with genre ids of the vocabulary and years in order."""
    for field, genres in (("include_genres", message.include_genres), ("exclude_genres", message.exclude_genres)):
        for genre in genres:
            check_range(f"filter.{field}", genre, 1, len(GENRES))
    if 0 < message.max_year < message.min_year:
        raise InvalidRequestError(
            f"filter.min_year is {message.min_year}, later than filter.max_year {message.max_year}; swap them"
        )
    check_count("filter.exclude_item_ids", message.exclude_item_ids, 0, MAX_EXCLUDED)
    return ItemFilter(
        positive_ids("filter.exclude_item_ids", message.exclude_item_ids),
        tuple(message.include_genres),
        tuple(message.exclude_genres),
        message.min_year,
        message.max_year,
    )


def positive_ids(field: str, values: Sequence[int]) -> NDArray[np.int64]:
    """Item ids as an array; every id is at least 1."""
    ids = np.array(values, np.int64)
    if len(ids) and ids.min() < 1:
        raise InvalidRequestError(f"{field} has {ids.min()}; item ids are positive")
    return ids


def channel_result(candidates: ChannelCandidates) -> pb.ChannelResult:
    """One channel's part of the answer."""
    return pb.ChannelResult(
        channel=candidates.channel,
        item_ids=candidates.item_ids.tolist(),
        scores=candidates.scores.tolist(),
        seed_item_ids=candidates.seed_item_ids.tolist(),
        error=candidates.error,
        compute_ms=candidates.compute_ms,
    )
