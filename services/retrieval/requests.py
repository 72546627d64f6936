"""From checked protobuf requests to the engine's values, and back. Columns move as arrays, never value by value."""

from collections.abc import Sequence

from recstack.api.common.v1.common_pb2 import Channel
from recstack.api.retrieval.v1 import retrieval_pb2 as pb
from recstack.errors import InvalidRequestError
from recstack.features.messages import positive_ids
from recstack.features.schema import GENRES
from recstack.rpc.limits import check_count, check_range
from services.retrieval.engine import ChannelCandidates
from services.retrieval.item_filter import ItemFilter

MAX_EXCLUDED = 100_000
"""Excluded ids per request; far above any stored history, and still answered within milliseconds."""

KNOWN_CHANNELS = frozenset(Channel.values()) - {Channel.CHANNEL_UNSPECIFIED}


def channels_and_counts(channels: Sequence[pb.ChannelRequest], max_k: int) -> list[tuple[Channel.ValueType, int]]:
    """The asked channels with their k: at least one, each known and asked once."""
    if not channels:
        raise InvalidRequestError("channels is empty; ask at least one channel")
    asked: set[Channel.ValueType] = set()
    for request in channels:
        channel = request.channel
        if channel not in KNOWN_CHANNELS:
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
