"""The asyncio client of the gateway; the same methods as `recstack.Client`."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from recstack.api.gateway.v1 import gateway_pb2
from recstack.api.gateway.v1.gateway_pb2_grpc import RecommenderServiceStub
from recstack.client import convert
from recstack.client.failures import error_of
from recstack.client.sync import DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from recstack.client.types import Event, Explanations, Filter, RecommendationList, SimilarItems, StackInfo
from recstack.rpc.channel import aio_channel
from recstack.rpc.credentials import Tls

Reply = TypeVar("Reply")


class AsyncClient:
    """Talks to a gateway from a coroutine; see `recstack.Client` for arguments, errors and retries.

    Make it inside the running event loop; use it as an async context manager, or await `close`.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = DEFAULT_TIMEOUT, tls: Tls | None = None
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = aio_channel(address, tls)
        # The generated stub is typed for blocking channels; on an aio channel its methods return awaitables.
        self._stub: Any = RecommenderServiceStub(self._channel)

    async def recommend(
        self,
        user_id: int,
        k: int = 20,
        *,
        filter: Filter | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> RecommendationList:
        """The k best items for a user; an unknown user gets a cold-start list, marked as such."""
        request = convert.recommend_request(user_id, k, filter or Filter(), request_id)
        return convert.recommendations(await self._call(self._stub.Recommend, request, timeout))

    async def similar_items(
        self, item_id: int, k: int = 20, *, filter: Filter | None = None, timeout: float | None = None
    ) -> SimilarItems:
        """The k items nearest to one item."""
        request = convert.similar_request(item_id, k, filter or Filter())
        return convert.similar_items(await self._call(self._stub.SimilarItems, request, timeout))

    async def record_events(
        self, user_id: int, events: Iterable[Event], *, timeout: float | None = None
    ) -> tuple[bool, ...]:
        """Record what a user did. For each event: True when written now, False when its id was known already."""
        request = convert.events_request(user_id, tuple(events))
        return tuple((await self._call(self._stub.RecordEvents, request, timeout)).written)

    async def explain(
        self,
        user_id: int,
        item_ids: Sequence[int],
        k: int = 20,
        *,
        filter: Filter | None = None,
        timeout: float | None = None,
    ) -> Explanations:
        """Why each item is, or is not, among the k items that `recommend` would return."""
        request = convert.explain_request(user_id, item_ids, k, filter or Filter())
        return convert.explanations(await self._call(self._stub.Explain, request, timeout))

    async def info(self, *, timeout: float | None = None) -> StackInfo:
        """Versions, bundles and limits of the gateway and of the services behind it."""
        return convert.stack_info(await self._call(self._stub.GetInfo, gateway_pb2.GetInfoRequest(), timeout))

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Awaitable[Reply]], request: Any, timeout: float | None) -> Reply:
        seconds = self.timeout if timeout is None else timeout
        try:
            return await method(request, timeout=seconds)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address, seconds) from failure
