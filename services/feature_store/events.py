"""Events of one user, validated as a whole before anything is written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2
from recstack.config import FeatureStoreSettings
from recstack.errors import InvalidRequestError
from recstack.features.schema import HISTORY_RECORD
from recstack.rpc.limits import check_columns, check_count, check_range

MAX_ID = 2**63 - 1
MAX_EVENT_ID_BYTES = 64
_TYPES = frozenset(common_pb2.EventType.values()) - {common_pb2.EVENT_TYPE_UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Valid events of one user in request order.

    records [E] HISTORY_RECORD, whose `type` is the EventType; event_ids has E entries.
    """

    user_id: int
    event_ids: tuple[str, ...]
    records: NDArray[np.void]

    @property
    def item_ids(self) -> list[int]:
        """Items acted on, in request order."""
        ids: list[int] = self.records["item_id"].tolist()
        return ids


def check_user_id(user_id: int) -> None:
    """Require a user id >= 0."""
    check_range("user_id", user_id, 0, MAX_ID)


def check_item_ids(item_ids: NDArray[np.int64]) -> None:
    """Require item ids > 0; the message names the first that is not."""
    _check_each("item_ids", item_ids, item_ids > 0, "it must be > 0")


def event_batch(request: features_pb2.WriteEventsRequest, limits: FeatureStoreSettings, now_ms: int) -> EventBatch:
    """The request as a batch. InvalidRequestError names the field, the entry and what is allowed."""
    check_user_id(request.user_id)
    check_count("event_ids", request.event_ids, 1, limits.max_events)
    check_columns(
        event_ids=request.event_ids,
        types=request.types,
        item_ids=request.item_ids,
        timestamps_ms=request.timestamps_ms,
        ratings=request.ratings,
    )
    _check_event_ids(request.event_ids)
    records = np.empty(len(request.event_ids), HISTORY_RECORD)
    types = np.array(request.types, np.int64)
    known = sorted(_TYPES)
    _check_each("types", types, np.isin(types, known), f"it must be one of {known} (see EventType)")
    records["type"] = types
    records["item_id"] = request.item_ids
    check_item_ids(records["item_id"])
    records["timestamp_ms"] = request.timestamps_ms
    latest = now_ms + limits.max_clock_skew_ms
    times = records["timestamp_ms"]
    _check_each(
        "timestamps_ms",
        times,
        (times > 0) & (times <= latest),
        f"it must be epoch milliseconds, > 0 and at most {limits.max_clock_skew_ms} ms ahead of now ({now_ms})",
    )
    ratings = np.array(request.ratings, np.float32)
    rated = types == common_pb2.EVENT_TYPE_RATING
    valid = np.where(rated, (ratings >= 1) & (ratings <= 5), ratings == 0)
    _check_each("ratings", ratings, valid, "it must be 1..5 for a RATING event and 0 for any other")
    records["rating"] = ratings
    return EventBatch(request.user_id, tuple(request.event_ids), records)


def _check_event_ids(event_ids: Sequence[str]) -> None:
    for position, event_id in enumerate(event_ids):
        size = len(event_id.encode())
        if not 1 <= size <= MAX_EVENT_ID_BYTES:
            raise InvalidRequestError(f"event_ids[{position}] has {size} bytes; it must have 1..{MAX_EVENT_ID_BYTES}")
    event_id, count = Counter(event_ids).most_common(1)[0]
    if count > 1:
        raise InvalidRequestError(f"event id {event_id!r} occurs {count} times; give each event its own id")


def _check_each(field: str, values: NDArray[np.generic], valid: NDArray[np.bool_], expected: str) -> None:
    if not valid.all():
        position = int(np.argmin(valid))
        raise InvalidRequestError(f"{field}[{position}] is {values[position]}; {expected}")
