"""Reads ranking requests: protobuf columns to a `RankQuery`, with every value checked once."""

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1.ranking_pb2 import AttributeRequest, RankRequest
from recstack.errors import InvalidRequestError
from recstack.features.batch import EMPTY_HISTORY, History
from recstack.features.schema import PROFILE_SIZES
from recstack.rpc.limits import check_columns, check_count, check_range
from services.ranking.scorer import RankQuery

MAX_RATING = 5


def read_query(request: RankRequest | AttributeRequest, *, max_items: int, max_history: int) -> RankQuery:
    """The query that a request asks for. InvalidRequestError names the field, the position and the limit."""
    check_count("item_ids", request.item_ids, 1, max_items)
    return RankQuery(
        profile=_profile(request.profile),
        history=_history(request.history, max_history),
        item_ids=_ids("item_ids", request.item_ids),
    )


def _profile(profile: common_pb2.UserProfile) -> NDArray[np.int64]:
    values = []
    for name, size in PROFILE_SIZES.items():
        value = getattr(profile, name)
        check_range(f"profile.{name}", value, 0, size - 1)
        values.append(value)
    return np.array(values, np.int64)


def _history(history: common_pb2.History, max_history: int) -> History:
    columns: dict[str, Sized] = {
        "history.item_ids": history.item_ids,
        "history.timestamps_ms": history.timestamps_ms,
        "history.ratings": history.ratings,
    }
    check_columns(**columns)
    check_count("history.item_ids", history.item_ids, 0, max_history)
    if not history.item_ids:
        return EMPTY_HISTORY
    timestamps_ms = np.array(history.timestamps_ms, np.int64)
    backwards = timestamps_ms[1:] < timestamps_ms[:-1]
    if backwards.any():
        at = int(backwards.argmax()) + 1
        raise InvalidRequestError(
            f"history.timestamps_ms[{at}] is {timestamps_ms[at]}, earlier than the event before it; "
            "send the history oldest first"
        )
    ratings = np.array(history.ratings, np.float32)
    valid = (ratings >= 0) & (ratings <= MAX_RATING)  # NaN fails both
    if not valid.all():
        at = int(valid.argmin())
        raise InvalidRequestError(
            f"history.ratings[{at}] is {ratings[at]}; a rating is 1 to {MAX_RATING}, or 0 for none"
        )
    return History(_ids("history.item_ids", history.item_ids), timestamps_ms, ratings)


def _ids(field: str, values: Sequence[int]) -> NDArray[np.int64]:
    ids = np.array(values, np.int64)
    if ids.min() <= 0:
        at = int((ids <= 0).argmax())
        raise InvalidRequestError(f"{field}[{at}] is {ids[at]}; item ids are positive catalogue ids")
    return ids
