"""Source: the popular items of a minute ago, for when retrieval does not answer."""

import asyncio
import logging

import numpy as np

from recstack.api.common.v1 import common_pb2
from recstack.api.retrieval.v1 import retrieval_pb2
from recstack.errors import UnavailableError
from services.gateway.clients import Backend
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.merge import ChannelList
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.trace import Trace

log = logging.getLogger("recstack.gateway")

REFRESH_SECONDS = 60.0
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0


class PopularCache:
    """Keeps the `size` most popular items of the whole catalogue, refreshed from retrieval in the background.

    The list is nobody's in particular: the gateway's own filters remove what this user has seen or does not want.
    `retrieval_answered` is set for good once retrieval has answered: from then on the gateway can recommend.
    """

    def __init__(self, retrieval: Backend, size: int) -> None:
        self.retrieval_answered = asyncio.Event()
        self._retrieval = retrieval
        self._size = size
        self._popular: ChannelList | None = None

    def enable(self, query: Query) -> bool:
        """Always."""
        return True

    async def run(self, query: Query, trace: Trace) -> list[ChannelList]:
        """The cached list. Raises UnavailableError before the first refresh has succeeded."""
        if self._popular is None:
            raise UnavailableError("empty, retrieval has not answered since the gateway started")
        return [self._popular]

    async def refresh(self) -> None:
        """Replace the list by a new one from retrieval. Raises RecStackError and keeps the old list on failure."""
        request = retrieval_pb2.RetrieveRequest(
            channels=[retrieval_pb2.ChannelRequest(channel=common_pb2.CHANNEL_POPULAR, k=self._size)]
        )
        reply = await self._retrieval.call(self._retrieval.stub.Retrieve, request, Deadline.after(TIMEOUT_SECONDS))
        self.retrieval_answered.set()
        result = reply.results[0]
        if result.error:
            raise UnavailableError(f"the popular channel failed: {result.error}")
        self._popular = ChannelList(
            common_pb2.CHANNEL_POPULAR,
            self._size,
            np.array(result.item_ids, np.int64),
            np.array(result.scores, np.float32),
            np.empty(0, np.int64),
            constrained=False,
        )

    async def keep_fresh(self) -> None:
        """Refresh for ever: every minute, or every second while there is no list at all."""
        while True:
            try:
                await self.refresh()
            except Exception as error:  # whatever the answer looked like, the next one may be better
                log.warning("popular list not refreshed: %s", error)
            await asyncio.sleep(RETRY_SECONDS if self._popular is None else REFRESH_SECONDS)
