"""Between the client's values and the gateway's protobuf messages."""

from collections.abc import Sequence

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.client.types import (
    ChannelEvidence,
    Event,
    Explanation,
    Explanations,
    FeatureStatus,
    Filter,
    HistoryInfluence,
    Recommendation,
    RecommendationList,
    ScoreKind,
    ServerInfo,
    SimilarItem,
    SimilarItems,
    StackInfo,
    StageTiming,
)
from recstack.errors import InvalidRequestError
from recstack.features.channels import channel_mask, channel_name, channel_names


def recommend_request(user_id: int, k: int, filter: Filter, request_id: str) -> gateway_pb2.RecommendRequest:
    """Request of Recommend."""
    return gateway_pb2.RecommendRequest(user_id=user_id, k=k, filter=filter_message(filter), request_id=request_id)


def similar_request(item_id: int, k: int, filter: Filter) -> gateway_pb2.SimilarItemsRequest:
    """Request of SimilarItems."""
    return gateway_pb2.SimilarItemsRequest(item_id=item_id, k=k, filter=filter_message(filter))


def explain_request(user_id: int, item_ids: Sequence[int], k: int, filter: Filter) -> gateway_pb2.ExplainRequest:
    """Request of Explain."""
    return gateway_pb2.ExplainRequest(user_id=user_id, item_ids=item_ids, k=k, filter=filter_message(filter))


def events_request(user_id: int, events: Sequence[Event]) -> gateway_pb2.RecordEventsRequest:
    """Request of RecordEvents. Raises InvalidRequestError for a channel that nobody has heard of."""
    try:
        channel_masks = [channel_mask(event.channels) for event in events]
    except ValueError as error:
        raise InvalidRequestError(f"channels: {error}") from error
    return gateway_pb2.RecordEventsRequest(
        user_id=user_id,
        event_ids=[event.event_id for event in events],
        types=[common_pb2.EventType.Value(f"EVENT_TYPE_{event.type.name}") for event in events],
        item_ids=[event.item_id for event in events],
        timestamps_ms=[event.timestamp_ms or 0 for event in events],
        ratings=[event.rating or 0.0 for event in events],
        channel_masks=channel_masks if any(channel_masks) else (),
        arms=[event.arm for event in events] if any(event.arm for event in events) else (),
    )


def filter_message(filter: Filter) -> gateway_pb2.RecommendFilter:
    """The wire form of a filter."""
    return gateway_pb2.RecommendFilter(
        exclude_item_ids=filter.exclude_item_ids,
        include_genres=filter.include_genres,
        exclude_genres=filter.exclude_genres,
        min_year=filter.min_year or 0,
        max_year=filter.max_year or 0,
        allow_seen=filter.allow_seen,
    )


def recommendations(reply: gateway_pb2.RecommendResponse) -> RecommendationList:
    """Answer of Recommend."""
    columns = zip(
        reply.item_ids, reply.titles, reply.years, reply.genres, reply.scores, reply.channel_masks, strict=True
    )
    return RecommendationList(
        items=tuple(
            Recommendation(item_id, title, year or None, genre_names(genres), score, channel_names(mask), reply.arm)
            for item_id, title, year, genres, score, mask in columns
        ),
        request_id=reply.request_id,
        cold_start=reply.cold_start,
        degraded=tuple(reply.degraded),
        timings=tuple(StageTiming(timing.stage, timing.duration_ms) for timing in reply.timings),
        candidates=reply.candidates,
        bundle_versions=dict(reply.bundle_versions),
        profile_status=FeatureStatus[
            common_pb2.FeatureStatus.Name(reply.profile_status).removeprefix("FEATURE_STATUS_")
        ],
        score_kind=_score_kind(reply.score_kind),
        arm=reply.arm,
    )


def similar_items(reply: gateway_pb2.SimilarItemsResponse) -> SimilarItems:
    """Answer of SimilarItems."""
    columns = zip(reply.item_ids, reply.titles, reply.years, reply.genres, reply.similarities, strict=True)
    return SimilarItems(
        items=tuple(
            SimilarItem(item_id, title, year or None, genre_names(genres), similarity)
            for item_id, title, year, genres, similarity in columns
        ),
        degraded=tuple(reply.degraded),
    )


def explanations(reply: gateway_pb2.ExplainResponse) -> Explanations:
    """Answer of Explain."""
    return Explanations(
        items=tuple(_explanation(item) for item in reply.items),
        degraded=tuple(reply.degraded),
        bundle_versions=dict(reply.bundle_versions),
        score_kind=_score_kind(reply.score_kind),
    )


def stack_info(reply: gateway_pb2.GetInfoResponse) -> StackInfo:
    """Answer of GetInfo."""
    return StackInfo(_server_info(reply.info), tuple(_server_info(backend) for backend in reply.backends))


def genre_names(joined: str) -> tuple[str, ...]:
    """Split "Action|Drama"."""
    return tuple(joined.split("|")) if joined else ()


def _explanation(item: gateway_pb2.ItemExplanation) -> Explanation:
    return Explanation(
        item_id=item.item_id,
        title=item.title,
        position=item.position or None,
        score_rank=item.score_rank or None,
        score=item.score,
        channels=tuple(
            ChannelEvidence(channel_name(seen.channel), seen.rank, seen.score, seen.seed_item_id or None)
            for seen in item.channels
        ),
        drop_reason=item.drop_reason or None,
        influences=tuple(
            HistoryInfluence(event.item_id, event.title, event.influence, event.rating or None)
            for event in item.influences
        ),
    )


def _server_info(info: common_pb2.ServerInfo) -> ServerInfo:
    return ServerInfo(
        service=info.service,
        version=info.version,
        schema_hash=info.schema_hash,
        bundle_version=info.bundle.version,
        last_refusal=info.bundle.last_refusal,
        limits=dict(info.limits),
        score_kind=_score_kind(info.bundle.score_kind),
    )


def _score_kind(kind: int) -> ScoreKind:
    """A kind that only a newer server knows is unspecified here."""
    if kind not in common_pb2.ScoreKind.values():
        return ScoreKind.UNSPECIFIED
    return ScoreKind[common_pb2.ScoreKind.Name(common_pb2.ScoreKind.ValueType(kind)).removeprefix("SCORE_KIND_")]
