"""What the gateway itself adds to Recommend(k=20) over 500 candidates, with backends that answer at once.

    python -m tests.bench.gateway_overhead [--requests 1000]

Three processes: backends that return ready-made replies, the gateway, and this client. Full recommendations and the
same three RPCs made bare, one after the other, are interleaved in one run; the difference is what the gateway adds.
"""

import argparse
import asyncio
import multiprocessing
from collections import defaultdict
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter, process_time

import numpy as np
import uvloop

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.api.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from recstack.config import FeatureStoreSettings, GatewaySettings, RankingSettings, RetrievalSettings, Settings
from recstack.features.schema import MAX_GENRES, TITLE_BYTES
from recstack.rpc.channel import aio_channel
from services.gateway.app import running_gateway
from tests.helpers.gateway_stack import FakeFeatureStore, FakeRanking, FakeRetrieval, Stack, wait_until_serving

ITEMS, HISTORY, SEEN, K, POOL, CANDIDATES = 3706, 50, 200, 20, 60, 500
WARM_UP = 50
HOPS = ("hydrate/user_features", "sources/recall", "score/ranking")


class ReadyFeatureStore(FakeFeatureStore):
    """A user with a full history, and one ready-made page of items."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(0)
        seen = random.permutation(ITEMS)[:SEEN] + 1
        self.user = features_pb2.GetUserResponse(
            profile_status=common_pb2.FEATURE_STATUS_PRESENT,
            history=common_pb2.History(item_ids=seen[:HISTORY], timestamps_ms=range(HISTORY), ratings=[4.0] * HISTORY),
            seen_item_ids=sorted(seen.tolist()),
        )
        genres = random.integers(0, 19, (POOL, MAX_GENRES)).astype(np.uint8)
        titles = np.array([b"A title of usual length (1999)"] * POOL, f"S{TITLE_BYTES}")
        self.items = features_pb2.GetItemsResponse(
            statuses=[common_pb2.FEATURE_STATUS_PRESENT] * POOL,
            columns=[
                features_pb2.Column(name="year", dtype="<i2", width=1, data=np.full(POOL, 1999, "<i2").tobytes()),
                features_pb2.Column(name="genres", dtype="|u1", width=MAX_GENRES, data=genres.tobytes()),
                features_pb2.Column(name="title", dtype=f"|S{TITLE_BYTES}", width=1, data=titles.tobytes()),
            ],
        )

    async def GetUser(self, request, context):
        return self.user

    async def GetItems(self, request, context):
        return self.items


class ReadyRetrieval(FakeRetrieval):
    """As many candidates as each channel is asked for, the same every time."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[bytes, retrieval_pb2.RetrieveResponse] = {}

    async def Retrieve(self, request, context):
        asked = b"".join(channel.SerializeToString() for channel in request.channels)
        if asked not in self.replies:
            self.replies[asked] = self.reply(request)
        return self.replies[asked]

    @staticmethod
    def reply(request: retrieval_pb2.RetrieveRequest) -> retrieval_pb2.RetrieveResponse:
        """Random items for each channel."""
        random = np.random.default_rng(1)
        results = [
            retrieval_pb2.ChannelResult(
                channel=asked.channel,
                item_ids=random.permutation(ITEMS)[: asked.k] + 1,
                scores=np.linspace(1, 0, asked.k),
                seed_item_ids=[7] * asked.k if asked.channel == common_pb2.CHANNEL_ITEM_TO_ITEM else [],
            )
            for asked in request.channels
        ]
        return retrieval_pb2.RetrieveResponse(results=results, bundle_version="ready")


class ReadyRanking(FakeRanking):
    """Arbitrary probabilities."""

    scores = np.random.default_rng(2).random(5000).tolist()

    async def Rank(self, request, context):
        return ranking_pb2.RankResponse(scores=self.scores[: len(request.item_ids)], bundle_version="ready")


def run_backends(pipe: Connection) -> None:
    """Process 1: serve until told to stop."""

    async def serve() -> None:
        stack = Stack(ReadyFeatureStore(), ReadyRetrieval(), ReadyRanking())
        pipe.send([await stack.start_backend(name) for name in ("features", "retrieval", "ranking")])
        await asyncio.to_thread(pipe.recv)
        await stack.stop(*stack.servers)

    run(serve())


def run_gateway(pipe: Connection, ports: list[int]) -> None:
    """Process 2: serve until told to stop; answers each message with the CPU seconds used so far."""

    async def serve() -> None:
        features, retrieval, ranking = (f"127.0.0.1:{port}" for port in ports)
        settings = Settings(
            feature_store=FeatureStoreSettings(address=features),
            retrieval=RetrievalSettings(address=retrieval),
            ranking=RankingSettings(address=ranking),
            gateway=GatewaySettings(address="127.0.0.1:0", max_candidates=CANDIDATES),
        )
        async with running_gateway(settings) as server:
            pipe.send(server.port)
            while await asyncio.to_thread(pipe.recv):
                pipe.send(process_time())

    run(serve())


def run(main: Awaitable[None]) -> None:
    """Run on the event loop that the services use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def measure(port: int, ports: list[int], requests: int, gateway_cpu: Callable[[], float]) -> None:
    """Process 3: interleave recommendations and bare calls; print medians."""
    channels = [aio_channel(f"127.0.0.1:{number}") for number in (port, *ports)]
    gateway = gateway_pb2_grpc.RecommenderServiceStub(channels[0])
    await wait_until_serving(channels[0])
    bare_calls = bare_calls_of(channels[1:])
    wall, bare, stages = [], [], defaultdict(list)
    for number in range(requests + WARM_UP):
        if number == WARM_UP:
            wall, bare, stages = [], [], defaultdict(list)
            cpu = gateway_cpu()
        started = perf_counter()
        reply = await gateway.Recommend(gateway_pb2.RecommendRequest(user_id=1, k=K))
        wall.append(perf_counter() - started)
        assert len(reply.item_ids) == K
        assert not reply.degraded, reply.degraded
        for timing in reply.timings:
            stages[timing.stage].append(timing.duration_ms)
        started = perf_counter()
        await bare_calls()
        bare.append(perf_counter() - started)
    cpu = gateway_cpu() - cpu
    medians = {name: median(values) for name, values in stages.items()}
    hops = sum(medians[name] for name in HOPS)
    for name, value in medians.items():
        print(f"{name:32s} {value:7.3f} ms")
    print(f"{'three hops inside the pipeline':32s} {hops:7.3f} ms")
    print(f"{'pipeline less its hops':32s} {medians['total'] - hops:7.3f} ms")
    print(f"{'client wall, Recommend':32s} {median(wall) * 1e3:7.3f} ms")
    print(f"{'client wall, three bare calls':32s} {median(bare) * 1e3:7.3f} ms")
    print(f"{'gateway adds (medians)':32s} {(median(wall) - median(bare)) * 1e3:7.3f} ms")
    print(f"{'gateway CPU per Recommend':32s} {cpu / requests * 1e3:7.3f} ms")
    for channel in channels:
        await channel.close()


def bare_calls_of(channels: list) -> Callable[[], Awaitable[None]]:
    """The hops of one Recommend with payloads of the same sizes, without anything in between."""
    features = features_pb2_grpc.FeatureStoreServiceStub(channels[0])
    retrieval = retrieval_pb2_grpc.RetrievalServiceStub(channels[1])
    ranking = ranking_pb2_grpc.RankingServiceStub(channels[2])
    history = common_pb2.History(item_ids=range(1, HISTORY + 1), timestamps_ms=range(HISTORY), ratings=[4.0] * HISTORY)
    sizes = {1: 350, 2: 100, 3: 100, 4: 50}
    retrieve = retrieval_pb2.RetrieveRequest(
        history=history,
        channels=[retrieval_pb2.ChannelRequest(channel=channel, k=k) for channel, k in sizes.items()],
        filter=retrieval_pb2.ItemFilter(exclude_item_ids=range(1, SEEN + 1)),
    )

    async def call() -> None:
        await features.GetUser(features_pb2.GetUserRequest(user_id=1, history_length=HISTORY), timeout=1)
        await retrieval.Retrieve(retrieve, timeout=1)
        await ranking.Rank(ranking_pb2.RankRequest(history=history, item_ids=range(1, CANDIDATES + 1)), timeout=1)

    return call


def main() -> None:
    """Start the two server processes, measure, stop them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    requests = parser.parse_args().requests
    spawn = multiprocessing.get_context("spawn")  # gRPC must not be forked
    backends_pipe, their_pipe = spawn.Pipe()
    backends = spawn.Process(target=run_backends, args=(their_pipe,), daemon=True)
    backends.start()
    ports = backends_pipe.recv()
    gateway_pipe, their_pipe = spawn.Pipe()
    gateway = spawn.Process(target=run_gateway, args=(their_pipe, ports), daemon=True)
    gateway.start()
    port = gateway_pipe.recv()

    def gateway_cpu() -> float:
        gateway_pipe.send(True)
        return gateway_pipe.recv()

    run(measure(port, ports, requests, gateway_cpu))
    gateway_pipe.send(False)
    gateway.join()
    backends_pipe.send(False)
    backends.join()


if __name__ == "__main__":
    main()
