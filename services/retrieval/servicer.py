"""The RetrievalService of `recstack.api.retrieval.v1`: check, ask the engine, answer."""

import asyncio
import contextvars
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import grpc.aio

import recstack
from recstack import tracing
from recstack.api.common.v1.common_pb2 import ServerInfo
from recstack.api.retrieval.v1 import retrieval_pb2 as pb
from recstack.api.retrieval.v1 import retrieval_pb2_grpc
from recstack.bundle import BundleWatcher
from recstack.config import RetrievalSettings
from recstack.features.channels import channel_name
from recstack.features.messages import history_columns, profile_ids
from recstack.features.schema import SCHEMA
from recstack.metrics import CHANNEL_ERRORS, CHANNEL_SECONDS
from recstack.rpc.limits import check_range, check_user_id
from services.retrieval.engine import RetrievalEngine
from services.retrieval.requests import (
    MAX_EXCLUDED,
    channel_result,
    channels_and_counts,
    item_filter,
)

T = TypeVar("T")


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    """Answers from the bundle that was in use when the request came in.

    executor: runs retrievals over large catalogues.
    """

    def __init__(
        self, watcher: BundleWatcher[RetrievalEngine], settings: RetrievalSettings, executor: Executor
    ) -> None:
        self._watcher = watcher
        self._settings = settings
        self._executor = executor

    async def Retrieve(
        self, request: pb.RetrieveRequest, context: grpc.aio.ServicerContext[pb.RetrieveRequest, pb.RetrieveResponse]
    ) -> pb.RetrieveResponse:
        """Candidates of each requested channel."""
        started = time.perf_counter()
        check_user_id(request.user_id)
        profile = profile_ids(request.profile)
        history = history_columns(request.history, self._settings.max_history)
        channels = channels_and_counts(request.channels, self._settings.max_k)
        restrictions = item_filter(request.filter)
        engine = self._watcher.require().model
        candidates = await self._compute(
            engine,
            lambda: engine.retrieve(profile, history, channels, restrictions, context.time_remaining, request.user_id),
        )
        results = [channel_result(result) for result in candidates.results]
        for result in results:
            name = channel_name(result.channel)
            CHANNEL_SECONDS.labels(name).observe(result.compute_ms / 1e3)
            if result.error:
                CHANNEL_ERRORS.labels(name).inc()
        if tracing.recording():
            _annotate_span(results, engine.version)
        return pb.RetrieveResponse(
            results=results,
            bundle_version=engine.version,
            unknown_history_items=candidates.unknown_history_items,
            total_ms=(time.perf_counter() - started) * 1e3,
        )

    async def SimilarItems(
        self,
        request: pb.SimilarItemsRequest,
        context: grpc.aio.ServicerContext[pb.SimilarItemsRequest, pb.SimilarItemsResponse],
    ) -> pb.SimilarItemsResponse:
        """Nearest items of one item."""
        check_range("k", request.k, 1, self._settings.max_k)
        restrictions = item_filter(request.filter)
        engine = self._watcher.require().model
        item_ids, similarities = await self._compute(
            engine, lambda: engine.similar(request.item_id, request.k, restrictions)
        )
        return pb.SimilarItemsResponse(
            item_ids=item_ids.tolist(), similarities=similarities.tolist(), bundle_version=engine.version
        )

    async def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.aio.ServicerContext[pb.GetInfoRequest, pb.GetInfoResponse]
    ) -> pb.GetInfoResponse:
        """Versions and limits."""
        info = ServerInfo(
            service="recstack.retrieval",
            version=recstack.__version__,
            schema_hash=SCHEMA.hash,
            bundle=self._watcher.info(),
            limits={
                "max_k": self._settings.max_k,
                "max_history": self._settings.max_history,
                "max_exclude_item_ids": MAX_EXCLUDED,
            },
        )
        return pb.GetInfoResponse(info=info)

    async def _compute(self, engine: RetrievalEngine, work: Callable[[], T]) -> T:
        # A hop to a thread and back costs about as much as a whole exact search over a small catalogue, and the
        # interpreter lock lets few of the small steps overlap; ten looks into lists would hold up the loop.
        if engine.large:
            context = contextvars.copy_context()  # what is logged there belongs to this request
            return await asyncio.get_running_loop().run_in_executor(self._executor, context.run, work)
        return work()


def _annotate_span(results: Sequence[pb.ChannelResult], version: str) -> None:
    """One event per channel, at the end: they ran one after another."""
    tracing.annotate({"recstack.bundle.retrieval": version})
    for result in results:
        told = {"items": len(result.item_ids), "compute_ms": result.compute_ms, "error": result.error}
        tracing.event(channel_name(result.channel), {f"recstack.channel.{name}": value for name, value in told.items()})
