"""Query hydrator: profile, history and seen items of the user, from the feature store."""

from dataclasses import replace

import numpy as np

from recstack.api.features.v1 import features_pb2
from services.gateway.clients import Backend
from services.gateway.pipeline.query import Query, User
from services.gateway.pipeline.trace import Trace


class UserFeatures:
    """Reads the user in one RPC. An unknown user is not an error: nothing is known of them."""

    def __init__(self, features: Backend, history_length: int) -> None:
        self._features = features
        self._history_length = history_length

    def enable(self, query: Query) -> bool:
        """Always: every query has a user."""
        return True

    async def run(self, query: Query, trace: Trace) -> Query:
        """The query with `user` filled in."""
        request = features_pb2.GetUserRequest(user_id=query.user_id, history_length=self._history_length)
        reply = await self._features.call(self._features.stub.GetUser, request, query.deadline)
        trace.add_timing("hydrate/user_features.redis", reply.redis_ms)
        user = User(
            profile=reply.profile,
            profile_status=reply.profile_status,
            history=reply.history,
            seen_item_ids=np.array(reply.seen_item_ids, np.int64),
        )
        return replace(query, user=user)
