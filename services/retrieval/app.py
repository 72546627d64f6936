"""Wiring of the retrieval service, top to bottom."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import faiss
import torch

from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.bundle import Bundle, BundleStore, BundleWatcher
from recstack.config import Settings
from recstack.metrics import export
from recstack.models.devices import resolve_device
from recstack.rpc.server import Registration, RunningServer, run_until_signal, start_server
from recstack.tracing import exported_traces
from services.retrieval.engine import RetrievalEngine
from services.retrieval.servicer import RetrievalServicer

SERVICE = retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"].full_name


@asynccontextmanager
async def running_service(settings: Settings) -> AsyncIterator[RunningServer]:
    """The service, listening; SERVING from the first bundle on. Stops on exit."""
    retrieval = settings.retrieval
    device, threads = resolve_device(retrieval.device), retrieval.threads

    def set_threads() -> None:
        # OpenMP keeps its thread count per calling thread, so each worker sets it for itself.
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)

    def load(bundle: Bundle) -> RetrievalEngine:
        set_threads()
        engine = RetrievalEngine.load(bundle, device, retrieval.cold_start_interactions)
        engine.warm_up()
        return engine

    async def publish_readiness() -> None:
        await running.set_serving(True)

    set_threads()
    store = BundleStore.of(settings)
    watcher = BundleWatcher(store, load, settings.bundle.poll_seconds, publish_readiness)
    with ThreadPoolExecutor(os.cpu_count(), "retrieval", set_threads) as executor:
        servicer = RetrievalServicer(watcher, retrieval, executor)
        registration = Registration(SERVICE, retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server, servicer)
        running = await start_server(retrieval.address, [registration], serving=False, tls=settings.tls)
        try:
            await watcher.start()
            yield running
        finally:
            await watcher.stop()
            await running.stop(settings.drain_seconds)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    export(settings.metrics)
    with exported_traces(settings.tracing, "recstack.retrieval"):
        async with running_service(settings) as running:
            await run_until_signal(running, settings.drain_seconds)
