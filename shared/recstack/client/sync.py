"""The blocking client of the gateway."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from recstack.api.gateway.v1 import gateway_pb2
from recstack.api.gateway.v1.gateway_pb2_grpc import RecommenderServiceStub
from recstack.client import convert
from recstack.client.failures import error_of
from recstack.client.types import Event, Explanations, Filter, RecommendationList, SimilarItems, StackInfo
from recstack.rpc.channel import sync_channel
from recstack.rpc.credentials import Tls

Reply = TypeVar("Reply")

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 1.0
"""Seconds that a call may take, retries included."""


class Client:
    """Talks to a gateway; thread-safe. Use it as a context manager, or call `close`.

    address: host:port of the gateway, or any gRPC target. timeout: seconds per call, unless a call says otherwise.
    tls: how to encrypt; without it, nothing is. Its files are read once here, and again when renewed by `AsyncClient`.
    A call that found no server is retried within its time; RecordEvents is too, because each event has an id.
    Every method raises a subclass of `recstack.RecStackError`:

    InvalidRequestError (bad argument), NotFoundError (unknown item), OverloadedError (try later), DeadlineError
    (no time left), UnavailableError (no server), BundleError (the server has no usable model).
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = DEFAULT_TIMEOUT, tls: Tls | None = None
    ) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = sync_channel(address, tls)
        self._stub = RecommenderServiceStub(self._channel)

    def recommend(
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
        return convert.recommendations(self._call(self._stub.Recommend, request, timeout))

    def similar_items(
        self, item_id: int, k: int = 20, *, filter: Filter | None = None, timeout: float | None = None
    ) -> SimilarItems:
        """The k items nearest to one item."""
        request = convert.similar_request(item_id, k, filter or Filter())
        return convert.similar_items(self._call(self._stub.SimilarItems, request, timeout))

    def record_events(self, user_id: int, events: Iterable[Event], *, timeout: float | None = None) -> tuple[bool, ...]:
        """Record what a user did. For each event: True when written now, False when its id was known already."""
        request = convert.events_request(user_id, tuple(events))
        return tuple(self._call(self._stub.RecordEvents, request, timeout).written)

    def explain(
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
        return convert.explanations(self._call(self._stub.Explain, request, timeout))

    def info(self, *, timeout: float | None = None) -> StackInfo:
        """Versions, bundles and limits of the gateway and of the services behind it."""
        return convert.stack_info(self._call(self._stub.GetInfo, gateway_pb2.GetInfoRequest(), timeout))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Reply], request: Any, timeout: float | None) -> Reply:
        seconds = self.timeout if timeout is None else timeout
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address, seconds) from failure
