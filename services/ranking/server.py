"""The ranking service on plain grpc.aio: one process, no Ray. Same contract as serve_app.py."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.bundle import Bundle
from recstack.config import Settings
from recstack.metrics import export
from recstack.rpc.server import Registration, RunningServer, run_until_signal, start_server
from recstack.tracing import exported_traces
from services.ranking.service import BundleScorer, RankingService

SERVICE_NAME = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class RankingServicer(ranking_pb2_grpc.RankingServiceServicer):
    """Hands each RPC, with the time that its caller leaves it, to the service."""

    def __init__(self, service: RankingService) -> None:
        self._service = service

    async def Rank(self, request: ranking_pb2.RankRequest, context: Context) -> ranking_pb2.RankResponse:
        """See ranking.proto."""
        return await self._service.rank(request, context.time_remaining())

    async def Attribute(self, request: ranking_pb2.AttributeRequest, context: Context) -> ranking_pb2.AttributeResponse:
        """See ranking.proto."""
        return await self._service.attribute(request, context.time_remaining())

    async def GetInfo(self, request: ranking_pb2.GetInfoRequest, context: Context) -> ranking_pb2.GetInfoResponse:
        """See ranking.proto."""
        return self._service.get_info()


@asynccontextmanager
async def running_service(
    settings: Settings, load: Callable[[Bundle], BundleScorer] | None = None
) -> AsyncIterator[RunningServer]:
    """The service, listening; SERVING from the first bundle on. Stops on exit. load: see `RankingService`."""

    async def publish_readiness() -> None:
        await running.set_serving(True)

    service = RankingService(settings, load, publish_readiness)
    add = ranking_pb2_grpc.add_RankingServiceServicer_to_server
    registration = Registration(SERVICE_NAME, add, RankingServicer(service))
    running = await start_server(settings.ranking.address, [registration], serving=False, tls=settings.tls)
    try:
        await service.start()
        yield running
    finally:
        await running.stop(settings.drain_seconds)
        await service.stop()


async def serve_until_signal(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    export(settings.metrics)
    with exported_traces(settings.tracing, "recstack.ranking"):
        async with running_service(settings) as running:
            await run_until_signal(running, settings.drain_seconds)
