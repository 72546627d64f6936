"""Wiring of the gateway: which components, in which order, and what happens when one of them fails."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.config import GatewaySettings, Settings
from recstack.metrics import export
from recstack.rpc.request_id import bind_request_id
from recstack.rpc.server import Registration, RunningServer, run_until_signal, start_server
from recstack.tracing import exported_traces
from services.gateway.clients import Backends
from services.gateway.filters.already_watched import AlreadyWatched
from services.gateway.filters.candidate_limit import CandidateLimit
from services.gateway.filters.excluded_items import ExcludedItems
from services.gateway.filters.genre_year_limits import GenreYearLimits
from services.gateway.filters.not_recalled import NotRecalled
from services.gateway.hydrators.cold_user import ColdUser
from services.gateway.hydrators.display import Display
from services.gateway.hydrators.display_cache import DisplayCache
from services.gateway.hydrators.item_features import ItemFeatures
from services.gateway.hydrators.user_features import UserFeatures
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.executor import Executor
from services.gateway.pipeline.query import Query
from services.gateway.pipeline.stages import Fallback, Optional, Pipeline, Step
from services.gateway.scorers.ranking import Ranking
from services.gateway.scorers.recall_order import RecallOrder
from services.gateway.selectors.genre_diversity import GenreDiversity
from services.gateway.servicer import RecommenderServicer
from services.gateway.sources.popular_cache import PopularCache
from services.gateway.sources.recall import Recall

log = logging.getLogger("recstack.gateway")

DISPLAY_CACHE_ITEMS = 100_000
"""Items whose titles are remembered, 15 MB at most: more than the answers of any minute hold."""

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["RecommenderService"].full_name


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    export(settings.metrics)
    with exported_traces(settings.tracing, "recstack.gateway"):
        async with running_gateway(settings) as server:
            await run_until_signal(server, settings.drain_seconds)


@contextlib.asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncIterator[RunningServer]:
    """A started gateway. It starts whatever is down, and is SERVING once retrieval has answered for the first time.

    From then on there is always something to recommend (at worst the popular list of a while ago), so that losing a
    backend later degrades answers but never takes the gateway out of rotation.
    """
    async with contextlib.aclosing(Backends.connect(settings)) as backends:
        popular_cache = PopularCache(backends.retrieval, settings.gateway.max_candidates)
        executor = Executor(build_pipeline(backends, popular_cache, settings.gateway), settings.gateway.reserve_ms)
        servicer = RecommenderServicer(executor, backends, settings.gateway)
        registration = Registration(SERVICE, gateway_pb2_grpc.add_RecommenderServiceServicer_to_server, servicer)
        server = await start_server(settings.gateway.address, [registration], serving=False, tls=settings.tls)
        background = [
            asyncio.create_task(popular_cache.keep_fresh()),
            asyncio.create_task(_serve_when_ready(server, popular_cache, executor, settings.gateway.deadline_ms)),
        ]
        try:
            yield server
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await server.stop(0)


def build_pipeline(backends: Backends, popular_cache: PopularCache, settings: GatewaySettings) -> Pipeline:
    """The recommendation pipeline. A share is the part of the remaining time that a step may use at most, so that what
    comes after a slow step still has time to answer."""
    channel_sizes: dict[int, int] = {
        common_pb2.CHANNEL_TWO_TOWER: settings.two_tower_k,
        common_pb2.CHANNEL_ITEM_TO_ITEM: settings.item_to_item_k,
        common_pb2.CHANNEL_POPULAR: settings.popular_k,
        common_pb2.CHANNEL_FRESH: settings.fresh_k,
        common_pb2.CHANNEL_COLD_START: settings.cold_start_k,
    }
    return Pipeline(
        query_hydrators=(
            Step(
                UserFeatures(backends.features, settings.history_length),
                Fallback(ColdUser(), "user treated as new, items already watched may come back"),
                share=0.3,
            ),
        ),
        sources=(
            Step(
                Recall(backends.retrieval, channel_sizes),
                Fallback(popular_cache, "cached popular items used"),
                share=0.5,
            ),
        ),
        constraint_hydrator=Step(
            ItemFeatures(backends.features),
            Optional("items of unknown genre and year left out"),
            share=0.3,
        ),
        filters=(
            AlreadyWatched(),
            ExcludedItems(),
            GenreYearLimits(),
            NotRecalled(),
            CandidateLimit(settings.max_candidates),
        ),
        scorer=Step(Ranking(backends.ranking), Fallback(RecallOrder(), "recall order used"), share=0.8),
        display_hydrator=Step(
            Display(backends.features, DisplayCache(DISPLAY_CACHE_ITEMS, settings.display_cache_seconds)),
            Optional("titles, years and genres left out, genres not spread"),
            # The last step must not use everything up: gRPC rounds deadlines up by as much as 1 %, and a busy process
            # needs more than the reserve to get its answer out.
            share=0.7,
        ),
        selector=GenreDiversity(settings.diversity),
    )


async def _serve_when_ready(
    server: RunningServer, popular_cache: PopularCache, executor: Executor, deadline_ms: int
) -> None:
    await popular_cache.retrieval_answered.wait()
    # One recommendation that nobody waits for: no caller pays for connecting and for what numpy imports on first use.
    bind_request_id("warm-up")
    try:
        await executor.run(Query(user_id=0, k=1, request_id="warm-up", deadline=Deadline.after(deadline_ms / 1000)))
    except Exception as error:  # requests will tell their callers; the gateway must not stay NOT_SERVING for it
        log.warning("warm-up failed: %s", error)
    await server.set_serving(True)
