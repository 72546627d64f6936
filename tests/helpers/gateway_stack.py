"""Backends that a test can program: real gRPC servers on loopback whose answers, errors and silence are chosen.

They exist because failures must be injected; the real services are tested together elsewhere.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.api.gateway.v1 import gateway_pb2_grpc
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.config import FeatureStoreSettings, GatewaySettings, RankingSettings, RetrievalSettings, Settings
from recstack.errors import NotFoundError, RecStackError
from recstack.features.schema import MAX_GENRES, TITLE_BYTES
from recstack.rpc.channel import aio_channel
from recstack.rpc.server import Registration, RunningServer, start_server
from services.gateway.app import running_gateway

CATALOGUE = range(1, 41)
LOOPBACK = "127.0.0.1:0"


def genres_of(item_id: int) -> list[int]:
    """Genres of the made-up catalogue, two per item; neighbours share one, so relevance alone would not spread them."""
    return [item_id // 7 + 1, item_id % 2 + 10]


def year_of(item_id: int) -> int:
    """Release year in the made-up catalogue."""
    return 1960 + item_id


@dataclass
class Fault:
    """How an RPC misbehaves: it raises `error`, or stays silent until cancelled (`cancelled` is then set)."""

    error: RecStackError | None = None
    silent: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def strike(self) -> None:
        """Do it."""
        self.reached.set()
        if self.error is not None:
            raise self.error
        if self.silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


@dataclass
class Programmable:
    """What the fakes share: faults by RPC name, requests received and the time left that each call came with."""

    faults: dict[str, Fault] = field(default_factory=dict)
    requests: dict[str, list] = field(default_factory=dict)
    time_left: dict[str, float] = field(default_factory=dict)

    async def begin(self, rpc: str, request: object, context: grpc.aio.ServicerContext) -> None:
        """Record the call, then fail as programmed."""
        self.requests.setdefault(rpc, []).append(request)
        self.time_left[rpc] = context.time_remaining()
        if rpc in self.faults:
            await self.faults[rpc].strike()


class FakeFeatureStore(Programmable, features_pb2_grpc.FeatureStoreServiceServicer):
    """User 1 has a profile and a history; everybody else is unknown. Items are those of CATALOGUE."""

    def __init__(self) -> None:
        super().__init__()
        self.history = {1: [3, 5]}

    async def GetUser(self, request, context):
        await self.begin("GetUser", request, context)
        events = self.history.get(request.user_id, [])
        known = request.user_id == 1
        return features_pb2.GetUserResponse(
            profile=common_pb2.UserProfile(gender=1, age=3) if known else None,
            profile_status=common_pb2.FEATURE_STATUS_PRESENT if known else common_pb2.FEATURE_STATUS_MISSING,
            history=common_pb2.History(
                item_ids=events, timestamps_ms=range(1, len(events) + 1), ratings=[4.0] * len(events)
            ),
            seen_item_ids=sorted(events),
        )

    async def GetItems(self, request, context):
        await self.begin("GetItems", request, context)
        ids = list(request.item_ids)
        genres = np.zeros((len(ids), MAX_GENRES), np.uint8)
        genres[:, :2] = [genres_of(i) for i in ids] if ids else genres[:, :2]
        years = np.array([year_of(i) for i in ids], "<i2")
        columns = [
            features_pb2.Column(name="year", dtype="<i2", width=1, data=years.tobytes()),
            features_pb2.Column(name="genres", dtype="|u1", width=MAX_GENRES, data=genres.tobytes()),
        ]
        if request.plan == "display":
            dtype = f"|S{TITLE_BYTES}"
            titles = np.array([f"Movie é {i}".encode() for i in ids], dtype)
            columns.append(features_pb2.Column(name="title", dtype=dtype, width=1, data=titles.tobytes()))
        present, missing = common_pb2.FEATURE_STATUS_PRESENT, common_pb2.FEATURE_STATUS_MISSING
        statuses = [present if i in CATALOGUE else missing for i in ids]
        return features_pb2.GetItemsResponse(statuses=statuses, event_times_ms=[1] * len(ids), columns=columns)

    async def WriteEvents(self, request, context):
        await self.begin("WriteEvents", request, context)
        self.history.setdefault(request.user_id, []).extend(request.item_ids)
        return features_pb2.WriteEventsResponse(written=[True] * len(request.event_ids))

    async def GetInfo(self, request, context):
        await self.begin("GetInfo", request, context)
        return features_pb2.GetInfoResponse(info=common_pb2.ServerInfo(service="recstack.feature_store"))


class FakeRetrieval(Programmable, retrieval_pb2_grpc.RetrievalServiceServicer):
    """Channels list the catalogue in different orders, obey exclusions and genres, and may fail one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.channel_errors: dict[int, str] = {}

    async def Retrieve(self, request, context):
        await self.begin("Retrieve", request, context)
        excluded, genres = set(request.filter.exclude_item_ids), set(request.filter.include_genres)
        left = [i for i in CATALOGUE if i not in excluded and (not genres or genres & set(genres_of(i)))]
        orders = {
            common_pb2.CHANNEL_TWO_TOWER: left,
            common_pb2.CHANNEL_ITEM_TO_ITEM: left[1::2],
            common_pb2.CHANNEL_POPULAR: left[::-1],
            common_pb2.CHANNEL_FRESH: left[2::3],
            common_pb2.CHANNEL_COLD_START: [],
        }
        results = []
        for asked in request.channels:
            ids = orders[asked.channel][: asked.k]
            if asked.channel in self.channel_errors:
                results.append(
                    retrieval_pb2.ChannelResult(channel=asked.channel, error=self.channel_errors[asked.channel])
                )
                continue
            results.append(
                retrieval_pb2.ChannelResult(
                    channel=asked.channel,
                    item_ids=ids,
                    scores=np.linspace(1, 0.1, len(ids)),
                    seed_item_ids=[3] * len(ids) if asked.channel == common_pb2.CHANNEL_ITEM_TO_ITEM else [],
                )
            )
        return retrieval_pb2.RetrieveResponse(results=results, bundle_version="r1")

    async def SimilarItems(self, request, context):
        await self.begin("SimilarItems", request, context)
        if request.item_id not in CATALOGUE:
            raise NotFoundError(f"item {request.item_id} is not in the bundle")
        ids = [i for i in CATALOGUE if i != request.item_id and i not in request.filter.exclude_item_ids][: request.k]
        return retrieval_pb2.SimilarItemsResponse(item_ids=ids, similarities=np.linspace(1, 0.5, len(ids)))

    async def GetInfo(self, request, context):
        await self.begin("GetInfo", request, context)
        return retrieval_pb2.GetInfoResponse(info=common_pb2.ServerInfo(service="recstack.retrieval"))


class FakeRanking(Programmable, ranking_pb2_grpc.RankingServiceServicer):
    """The probability of an item is id / 100, so the highest id wins. Influences are in `influences`, per event."""

    influences = (0.1, -0.2, 0.0, 0.05, -0.01, 0.3, 0.02)

    async def Rank(self, request, context):
        await self.begin("Rank", request, context)
        return ranking_pb2.RankResponse(
            scores=[i / 100 for i in request.item_ids],
            bundle_version="k1",
            queue_ms=0.25,
            compute_ms=0.5,
            score_kind=common_pb2.SCORE_KIND_LIKE_PROBABILITY,
        )

    async def Attribute(self, request, context):
        await self.begin("Attribute", request, context)
        row = self.influences[: len(request.history.item_ids)]
        return ranking_pb2.AttributeResponse(
            scores=[i / 100 for i in request.item_ids], influences=row * len(request.item_ids)
        )

    async def GetInfo(self, request, context):
        await self.begin("GetInfo", request, context)
        return ranking_pb2.GetInfoResponse(info=common_pb2.ServerInfo(service="recstack.ranking"))


@dataclass
class Stack:
    """A gateway in front of three fakes. A fake can be taken down for good with `stop`."""

    features: FakeFeatureStore = field(default_factory=FakeFeatureStore)
    retrieval: FakeRetrieval = field(default_factory=FakeRetrieval)
    ranking: FakeRanking = field(default_factory=FakeRanking)
    servers: dict[str, RunningServer] = field(default_factory=dict)

    gateway: RunningServer = field(init=False)
    channel: grpc.aio.Channel = field(init=False)
    stub: gateway_pb2_grpc.RecommenderServiceStub = field(init=False)

    async def stop(self, *names: str) -> None:
        """Take backends down: their ports refuse connections from now on."""
        for name in names:
            await self.servers[name].stop(0)

    async def start_backend(self, name: str, address: str = LOOPBACK) -> int:
        """Bring a backend up; returns its port."""
        add, service = {
            "features": (features_pb2_grpc.add_FeatureStoreServiceServicer_to_server, "features.FeatureStoreService"),
            "retrieval": (retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server, "retrieval.RetrievalService"),
            "ranking": (ranking_pb2_grpc.add_RankingServiceServicer_to_server, "ranking.RankingService"),
        }[name]
        domain, short = service.split(".")
        full_name = f"recstack.api.{domain}.v1.{short}"
        self.servers[name] = await start_server(address, [Registration(full_name, add, getattr(self, name))])
        return self.servers[name].port


@contextlib.asynccontextmanager
async def running_stack(
    *,
    gateway: GatewaySettings | None = None,
    down: tuple[str, ...] = (),
    ready: bool = True,
    feature_store: str | None = None,
    display_cache_seconds: float = 0.0,
) -> AsyncIterator[Stack]:
    """A gateway on a free port with its backends; those in `down` have a port at which nobody listens.

    `ready` waits until the gateway says SERVING. `feature_store` is the address of a real one to use instead.
    Titles are read each time, so that every request takes all four hops; `display_cache_seconds` changes that.
    """
    stack = Stack()
    ports = {name: await stack.start_backend(name) for name in ("features", "retrieval", "ranking")}
    await stack.stop(*down)
    settings = Settings(
        feature_store=FeatureStoreSettings(address=feature_store or f"127.0.0.1:{ports['features']}"),
        retrieval=RetrievalSettings(address=f"127.0.0.1:{ports['retrieval']}"),
        ranking=RankingSettings(address=f"127.0.0.1:{ports['ranking']}"),
        gateway=(gateway or GatewaySettings()).model_copy(
            update={"address": LOOPBACK, "display_cache_seconds": display_cache_seconds}
        ),
    )
    async with running_gateway(settings) as server:
        stack.gateway = server
        stack.channel = aio_channel(f"127.0.0.1:{server.port}")
        stack.stub = gateway_pb2_grpc.RecommenderServiceStub(stack.channel)
        if ready:
            await wait_until_serving(stack.channel)
        yield stack
        await stack.channel.close()
    await stack.stop(*(set(stack.servers) - set(down)))


async def wait_until_serving(channel: grpc.aio.Channel) -> None:
    """Return once the gateway's health says SERVING."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async for reply in watch:
        if reply.status == health_pb2.HealthCheckResponse.SERVING:
            watch.cancel()
            return
