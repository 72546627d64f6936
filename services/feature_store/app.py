"""Wiring of the feature store service."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from recstack.api.features.v1 import features_pb2_grpc
from recstack.config import Settings
from recstack.errors import UnavailableError
from recstack.metrics import export, exporting
from recstack.rpc.server import Registration, RunningServer, run_until_signal, start_server
from recstack.tracing import exported_traces
from services.feature_store.bulk_loader import BulkLoader
from services.feature_store.connection import RedisClient, connect, display_address
from services.feature_store.durability import DurabilityGuard
from services.feature_store.event_writer import EventWriter
from services.feature_store.health_monitor import HealthMonitor
from services.feature_store.pipelined_reads import PipelinedReads, can_pipeline
from services.feature_store.redis_gauges import RedisGauges
from services.feature_store.sentinel import MasterClient
from services.feature_store.servicer import SERVICE, FeatureStoreServicer
from services.feature_store.store import FeatureStore, epoch_ms

log = logging.getLogger("recstack.feature_store")


@asynccontextmanager
async def running(settings: Settings, clock: Callable[[], int] = epoch_ms) -> AsyncIterator[RunningServer]:
    """The service, started. It boots while Redis is down: health says NOT_SERVING until Redis answers.

    Raises StackError when the port is taken or Redis does not, or cannot, keep the promised durability.
    """
    limits = settings.feature_store
    address = display_address(settings.redis_url)
    redis = connect(settings.redis_url, limits.redis_timeout_ms)
    reads = _pipelined_reads(settings.redis_url, limits.redis_timeout_ms, redis)
    guard = DurabilityGuard(redis, address, limits.durability)
    store = FeatureStore(
        redis,
        address,
        limits.max_history,
        reads,
        user_ttl_ms=settings.ttl.user * 1000,
        item_ttl_ms=settings.ttl.item * 1000,
        clock=clock,
    )
    writer = EventWriter(
        redis,
        address,
        store,
        guard,
        limits.max_history,
        limits.dedupe_seconds,
        min_replicas=limits.min_replicas,
        confirm_ms=limits.redis_timeout_ms // 2,
    )
    loader = BulkLoader(redis, address, limits.max_history)
    servicer = FeatureStoreServicer(store, writer, loader, limits, clock)
    try:
        try:
            await guard.require()
        except UnavailableError as error:
            log.warning("%s; starting anyway", error)
        registration = Registration(SERVICE, features_pb2_grpc.add_FeatureStoreServiceServicer_to_server, servicer)
        server = await start_server(limits.address, [registration], serving=False, tls=settings.tls)
        watching: list[asyncio.Task[None]] = []
        try:
            on_new_master = reads.disconnect if reads else lambda: None
            monitor = HealthMonitor(redis, address, guard, server, on_new_master=on_new_master)
            await monitor.check()
            watching.append(asyncio.create_task(monitor.run()))
            if exporting():
                watching.append(asyncio.create_task(RedisGauges(redis, address).run()))
            yield server
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await server.stop(settings.drain_seconds)
    finally:
        if reads is not None:
            await reads.aclose()
        await redis.aclose()


def _pipelined_reads(url: str, timeout_ms: int, redis: RedisClient) -> PipelinedReads | None:
    if isinstance(redis, MasterClient):
        return PipelinedReads(redis.url.master, timeout_ms, redis.locate)
    return PipelinedReads(url, timeout_ms) if can_pipeline(url) else None


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM."""
    export(settings.metrics)
    with exported_traces(settings.tracing, "recstack.feature_store"):
        async with running(settings) as server:
            await run_until_signal(server, settings.drain_seconds)
