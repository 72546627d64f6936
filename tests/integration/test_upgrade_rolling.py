"""Rolling updates while calls go on: no call fails, and no answer is a lesser one.

Behind names of a real DNS server, by which clients find the new pods. Ranking on Ray is upgraded in
test_upgrade_ray.py; a bundle is swapped under load in test_ranking_serve_app.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack import AsyncClient, RecommendationList
from recstack.bundle import BundleStore
from recstack.rpc import channel
from recstack.rpc.renewed_channel import FAILED_SECONDS, RenewedChannel
from recstack.rpc.server import start_server
from tests.helpers.gateway_stack import Stack
from tests.helpers.headless_service import HeadlessService
from tests.helpers.ranking_bundles import publish_bundle
from tests.helpers.rolling_update import Deployment

CALLERS = 8
PAUSE_SECONDS = 0.05
"""Between a caller's calls: enough load to have calls in flight all the time, and time for pods to start beside it."""
CALL_SECONDS = 60.0
"""Generous, so that a busy machine fails no call."""


class Callers:
    """People who ask for recommendations again and again. A call that fails fails `stop`."""

    def __init__(self, client: AsyncClient) -> None:
        self.answers: list[RecommendationList] = []
        self._client = client
        self._stopped = asyncio.Event()
        self._tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]

    async def _call(self) -> None:
        while not self._stopped.is_set():
            self.answers.append(await self._client.recommend(user_id=1, k=5, timeout=CALL_SECONDS))
            await asyncio.sleep(PAUSE_SECONDS)

    async def stop(self) -> None:
        """Raises what the first failed call raised."""
        self._stopped.set()
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[tuple[Deployment, Deployment]]:
    """Gateways and plain rankers, two each; feature store and retrieval are fakes that stay."""
    store = BundleStore(str(folder / "bundles"))
    publish_bundle(store, folder / "work")
    fakes = Stack()
    settings = {
        "RECSTACK_HOME": str(folder / "home"),
        "RECSTACK_BUNDLE__STORE": store.url,
        "RECSTACK_RANKING__ENGINE": "plain",
        "RECSTACK_FEATURE_STORE__ADDRESS": f"127.0.0.1:{await fakes.start_backend('features')}",
        "RECSTACK_RETRIEVAL__ADDRESS": f"127.0.0.1:{await fakes.start_backend('retrieval')}",
    }
    with HeadlessService("ranking") as ranking_name, HeadlessService("gateway") as gateway_name:
        ranking = Deployment("ranking", ranking_name, settings, folder)
        gateway = Deployment(
            "gateway", gateway_name, {**settings, "RECSTACK_RANKING__ADDRESS": ranking_name.target}, folder
        )
        try:
            await ranking.scale(2)
            await gateway.scale(2)
            yield ranking, gateway
        finally:
            ranking.kill()
            gateway.kill()
            await fakes.stop(*fakes.servers)


async def test_every_gateway_and_every_ranker_is_replaced_and_no_call_fails(tmp_path: Path) -> None:
    """One after the other, as the gateway's own update may follow that of ranking at once."""
    async with stack(tmp_path) as (ranking, gateway), AsyncClient(gateway.service.target) as client:
        before = {*map(id, ranking.pods), *map(id, gateway.pods)}
        callers = Callers(client)
        try:
            await asyncio.gather(ranking.roll(), gateway.roll())
        finally:
            await callers.stop()
        assert not before & {*map(id, ranking.pods), *map(id, gateway.pods)}
        degraded = [answer.degraded for answer in callers.answers if answer.degraded]
        assert not degraded, f"{len(degraded)} of {len(callers.answers)} answers, such as {degraded[0]}"
        assert len(callers.answers) > CALLERS


async def test_calls_that_a_server_had_not_taken_up_when_it_ended_are_answered_by_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hard case: one pod, its address the only one known, and more calls under way than it can have begun with."""
    options = {**dict(channel.OPTIONS), "grpc.dns_min_time_between_resolutions_ms": 0}
    monkeypatch.setattr(channel, "OPTIONS", list(options.items()))
    stopped = asyncio.Event()
    with HeadlessService("ranking") as name:
        old, new = [name.new_pod() for _ in range(2)]
        leaving, coming = [await start_server(address, []) for address in (old, new)]
        name.add(old)
        async with channel.aio_channel(name.target) as connection:
            stub = health_pb2_grpc.HealthStub(connection)

            async def call() -> int:
                calls = 0
                while not stopped.is_set():
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
                    calls += 1
                return calls

            callers = [asyncio.create_task(call()) for _ in range(100)]
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
            name.add(new)
            name.remove(old)
            await leaving.stop(CALL_SECONDS)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
            stopped.set()
            assert min(await asyncio.gather(*callers)) > 0
        await coming.stop(0)


async def test_a_channel_whose_name_led_nowhere_is_made_anew() -> None:
    """By itself gRPC asks again later and later: minutes after a first training that took minutes."""
    now, made = [0.0], []

    def make(_: object) -> grpc.aio.Channel:
        made.append(grpc.aio.insecure_channel((empty, name)[len(made)].target, options=channel.OPTIONS))
        return made[-1]

    with HeadlessService("nobody") as empty, HeadlessService("ranking") as name:
        pod = name.new_pod()
        server = await start_server(pod, [])
        name.add(pod)
        async with RenewedChannel(None, make, clock=lambda: now[0]) as connection:
            stub = health_pb2_grpc.HealthStub(connection)
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError, match="resol"):
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
                now[0] += FAILED_SECONDS
            for _ in range(3):  # a channel that is connected stays
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
                now[0] += FAILED_SECONDS
            assert len(made) == 2
        await server.stop(0)
