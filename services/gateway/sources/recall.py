"""Source: all channels of the retrieval service, in one RPC."""

from collections.abc import Mapping

import numpy as np

from recstack.api.common.v1 import common_pb2
from recstack.api.retrieval.v1 import retrieval_pb2
from recstack.errors import UnavailableError
from recstack.features.channels import channel_name
from services.gateway.clients import Backend
from services.gateway.messages import item_filter
from services.gateway.pipeline.merge import ChannelList
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace


class Recall:
    """Asks every configured channel; one that failed is a degradation; where the others bring nothing, a failure.

    channel_sizes: candidates asked of each channel number; channels of size 0 are not asked.
    """

    def __init__(self, retrieval: Backend, channel_sizes: Mapping[int, int]) -> None:
        self._retrieval = retrieval
        self._sizes = {channel: size for channel, size in channel_sizes.items() if size}
        self._channels = [
            retrieval_pb2.ChannelRequest(channel=common_pb2.Channel.ValueType(channel), k=size)
            for channel, size in self._sizes.items()
        ]

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(self, query: Query, trace: Trace) -> list[ChannelList]:
        """One list per channel that answered. Raises UnavailableError when channels failed and nothing is left."""
        request = retrieval_pb2.RetrieveRequest(
            user_id=query.user_id,
            profile=query.user.profile,
            history=query.user.history,
            channels=self._channels,
            filter=item_filter(query.constraints, self._unwanted(query)),
        )
        reply = await self._retrieval.call(self._retrieval.stub.Retrieve, request, query.deadline)
        failed = {channel_name(one.channel): one.error for one in reply.results if one.error}
        if failed and not any(one.item_ids for one in reply.results):
            reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
            raise UnavailableError(f"no channel brought anything ({reasons})")
        for name, error in failed.items():
            trace.degrade(f"recall/{name}", error, "the other channels were used")
        trace.bundle_versions["retrieval"] = reply.bundle_version
        trace.add_timing("sources/recall.compute", reply.total_ms)
        return [self._channel_list(one) for one in reply.results if not one.error]

    @staticmethod
    def _unwanted(query: Query) -> list[int]:
        """Ids that retrieval must leave out, so that its K are all useful."""
        excluded: list[int] = query.constraints.exclude_item_ids.tolist()
        if not query.constraints.allow_seen:
            excluded += query.user.seen_item_ids.tolist()
        return excluded

    def _channel_list(self, result: retrieval_pb2.ChannelResult) -> ChannelList:
        return ChannelList(
            result.channel,
            self._sizes[result.channel],
            np.array(result.item_ids, np.int64),
            np.array(result.scores, np.float32),
            np.array(result.seed_item_ids, np.int64),
        )
