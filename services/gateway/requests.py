"""Validation: from protobuf requests to queries. Everything that a caller can get wrong is told here, by field."""

from collections.abc import Sized

import numpy as np
from numpy.typing import NDArray

from recstack.api.gateway.v1 import gateway_pb2
from recstack.config import GatewaySettings
from recstack.errors import InvalidRequestError
from recstack.features.schema import genre_ids
from recstack.rpc.limits import MAX_ID, check_columns, check_count, check_range, check_user_id
from recstack.rpc.request_id import MAX_BYTES as MAX_REQUEST_ID_BYTES
from recstack.rpc.request_id import current_request_id
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.query import Constraints, Query

MAX_ARM_BYTES = 64


def recommend_query(request: gateway_pb2.RecommendRequest, deadline: Deadline, limits: GatewaySettings) -> Query:
    """The query of a Recommend. Raises InvalidRequestError."""
    check_user_id(request.user_id)
    check_range("k", request.k, 1, limits.max_k)
    size = len(request.request_id.encode())
    if size > MAX_REQUEST_ID_BYTES:
        raise InvalidRequestError(f"request_id has {size} bytes; it must have at most {MAX_REQUEST_ID_BYTES}")
    return Query(
        user_id=request.user_id,
        k=request.k,
        request_id=request.request_id or current_request_id(),
        deadline=deadline,
        constraints=parse_filter(request.filter, limits),
    )


def explain_query(request: gateway_pb2.ExplainRequest, deadline: Deadline, limits: GatewaySettings) -> Query:
    """The query of an Explain: a Recommend in which some items are followed. Raises InvalidRequestError."""
    check_user_id(request.user_id)
    check_range("k", request.k, 1, limits.max_k)
    check_count("item_ids", request.item_ids, 1, limits.max_explained_items)
    return Query(
        user_id=request.user_id,
        k=request.k,
        request_id=current_request_id(),
        deadline=deadline,
        constraints=parse_filter(request.filter, limits),
        explained_item_ids=_item_ids("item_ids", request.item_ids),
    )


def parse_filter(message: gateway_pb2.RecommendFilter, limits: GatewaySettings) -> Constraints:
    """The caller's restrictions, genres as ids. Raises InvalidRequestError."""
    check_count("filter.exclude_item_ids", message.exclude_item_ids, 0, limits.max_filter_items)
    if message.max_year and message.min_year > message.max_year:
        raise InvalidRequestError(
            f"filter.min_year is {message.min_year} and filter.max_year is {message.max_year}; "
            "min_year must not be later than max_year"
        )
    return Constraints(
        exclude_item_ids=_item_ids("filter.exclude_item_ids", message.exclude_item_ids),
        include_genres=_genres("filter.include_genres", list(message.include_genres)),
        exclude_genres=_genres("filter.exclude_genres", list(message.exclude_genres)),
        min_year=message.min_year,
        max_year=message.max_year,
        allow_seen=message.allow_seen,
    )


def check_item_id(field: str, item_id: int) -> None:
    """Require an item id > 0."""
    check_range(field, item_id, 1, MAX_ID)


def check_events(request: gateway_pb2.RecordEventsRequest) -> None:
    """Require parallel columns of at least one event; what happened to which item is the feature store's to judge.

    Channel masks and arms may be left out. What they say beyond their form is never refused: a gateway of another
    release may have given them, and an event must not be lost for a statistic.
    """
    check_user_id(request.user_id)
    check_columns(
        event_ids=request.event_ids,
        types=request.types,
        item_ids=request.item_ids,
        timestamps_ms=request.timestamps_ms,
        ratings=request.ratings,
    )
    count = len(request.event_ids)
    if not count:
        raise InvalidRequestError("event_ids has 0 entries; send at least one event")
    _check_echo("channel_masks", request.channel_masks, count)
    _check_echo("arms", request.arms, count)
    size = max((len(arm.encode()) for arm in request.arms), default=0)
    if size > MAX_ARM_BYTES:
        raise InvalidRequestError(f"arms has an entry of {size} bytes; each must have at most {MAX_ARM_BYTES}")


def _check_echo(field: str, column: Sized, count: int) -> None:
    if len(column) not in (0, count):
        raise InvalidRequestError(f"{field} has {len(column)} entries; it must have one per event, {count}, or none")


def _item_ids(field: str, values: object) -> NDArray[np.int64]:
    item_ids = np.array(values, np.int64)
    if len(item_ids):
        check_item_id(field, int(item_ids.min()))
    return item_ids


def _genres(field: str, names: list[str]) -> tuple[int, ...]:
    if not names:
        return ()
    try:
        return genre_ids(names)
    except ValueError as error:
        raise InvalidRequestError(f"{field}: {error}") from error
