"""From the user's part of a request (`recstack.api.common.v1`) to arrays, with every value checked once.

Retrieval and ranking read requests through the same functions, so both refuse the same input in the same words.
"""

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.errors import InvalidRequestError
from recstack.features.batch import EMPTY_HISTORY, History
from recstack.features.schema import PROFILE_SIZES
from recstack.rpc.limits import check_columns, check_count, check_range

MAX_RATING = 5


def profile_ids(profile: common_pb2.UserProfile) -> NDArray[np.int64]:
    """[4] ids in the order of PROFILE_SIZES; InvalidRequestError names an id outside its vocabulary."""
    ids = [getattr(profile, name) for name in PROFILE_SIZES]
    for (name, size), value in zip(PROFILE_SIZES.items(), ids, strict=True):
        check_range(f"profile.{name}", value, 0, size - 1)
    return np.array(ids, np.int64)


def history_columns(history: common_pb2.History, max_history: int) -> History:
    """At most `max_history` events with positive ids, in time order, rated 1..5 or 0 for none.

    InvalidRequestError names the field, the position and what is allowed.
    """
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
    return History(positive_ids("history.item_ids", history.item_ids), timestamps_ms, ratings)


def positive_ids(field: str, values: Sequence[int]) -> NDArray[np.int64]:
    """Item ids as int64; InvalidRequestError names the first that is not positive."""
    ids = np.array(values, np.int64)
    if len(ids) and ids.min() <= 0:
        at = int((ids <= 0).argmax())
        raise InvalidRequestError(f"{field}[{at}] is {ids[at]}; item ids are positive catalogue ids")
    return ids
