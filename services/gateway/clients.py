"""The three services behind the gateway: channels, stubs, and one translation of their errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from recstack import tracing
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.config import Settings
from recstack.errors import DeadlineError, RecStackError, UnavailableError, error_kind
from recstack.rpc.channel import aio_channel
from recstack.rpc.credentials import connection_problem, tls_to
from recstack.rpc.request_id import request_id_metadata
from services.gateway.pipeline.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Backend:
    """One service: its name for people, its address, its channel (which reconnects by itself) and its stub.

    methods: full name of each of the stub's methods, "/package.Service/Name".
    """

    name: str
    address: str
    channel: grpc.aio.Channel
    stub: Any
    methods: Mapping[Any, str]

    async def call(self, rpc: Callable[..., Any], request: object, deadline: Deadline) -> Any:
        """Call `rpc` (a method of `stub`) with what is left of `deadline`; gRPC errors become RecStackErrors.

        The id of the request at hand goes with it, and its trace if it has one.
        """
        try:
            with tracing.client_call(self.methods[rpc], self.address):
                metadata = request_id_metadata() + tracing.trace_metadata()
                return await rpc(request, timeout=deadline.remaining(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from error

    def _translate(self, error: grpc.aio.AioRpcError) -> RecStackError:
        code, details = error.code(), error.details() or "no details"
        kind = error_kind(code)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(f"{self.name} at {self.address} did not answer in time")
        if code is grpc.StatusCode.UNAVAILABLE:
            # What gRPC itself adds behind "last error" only repeats the address, unless it is about TLS.
            reason = connection_problem(details) or details.partition("; last")[0]
            return UnavailableError(f"{self.name} at {self.address} is unavailable ({reason})")
        if kind is RecStackError:
            return RecStackError(f"{self.name} at {self.address} failed with {code.name}; see its log")
        return kind(details)  # it already says what is wrong with the request; it goes to the caller word for word


@dataclass(frozen=True, slots=True)
class Backends:
    """All services behind the gateway. Connecting is lazy: the gateway starts whether they are up or not."""

    features: Backend
    retrieval: Backend
    ranking: Backend

    @classmethod
    def connect(cls, settings: Settings) -> "Backends":
        """Channels to the addresses in `settings`, over TLS where they say so. StackError for unusable certificates."""

        def backend(section: str, contract: Any, make_stub: Callable[[grpc.aio.Channel], Any]) -> Backend:
            address: str = getattr(settings, section).address
            channel = aio_channel(address, tls_to(section, settings))
            stub = make_stub(channel)
            (service,) = contract.DESCRIPTOR.services_by_name.values()
            methods = {rpc: f"/{service.full_name}/{name}" for name, rpc in vars(stub).items()}
            return Backend(section.replace("_", " "), address, channel, stub, methods)

        return cls(
            backend("feature_store", features_pb2, features_pb2_grpc.FeatureStoreServiceStub),
            backend("retrieval", retrieval_pb2, retrieval_pb2_grpc.RetrievalServiceStub),
            backend("ranking", ranking_pb2, ranking_pb2_grpc.RankingServiceStub),
        )

    async def aclose(self) -> None:
        """Close all channels."""
        for backend in (self.features, self.retrieval, self.ranking):
            await backend.channel.close()
