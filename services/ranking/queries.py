"""Reads ranking requests: protobuf columns to a `RankQuery`."""

from recstack.api.ranking.v1.ranking_pb2 import AttributeRequest, RankRequest
from recstack.features.messages import history_columns, positive_ids, profile_ids
from recstack.rpc.limits import check_count, check_user_id
from services.ranking.scorer import RankQuery


def read_query(request: RankRequest | AttributeRequest, *, max_items: int, max_history: int) -> RankQuery:
    """The query that a request asks for. InvalidRequestError names the field, the position and the limit."""
    check_user_id(request.user_id)
    check_count("item_ids", request.item_ids, 1, max_items)
    return RankQuery(
        profile=profile_ids(request.profile),
        history=history_columns(request.history, max_history),
        item_ids=positive_ids("item_ids", request.item_ids),
        user_id=request.user_id,
    )
