"""The server kit: what probes are told, and how connections age."""

import asyncio
import sys
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.rpc import server as server_kit
from recstack.rpc.channel import aio_channel
from recstack.rpc.probe import probe
from recstack.rpc.server import LIVE, Registration, start_server

SERVICE = features_pb2.DESCRIPTOR.services_by_name["FeatureStoreService"].full_name
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class PeerServicer(features_pb2_grpc.FeatureStoreServiceServicer):
    """Answers GetInfo with the caller's connection in place of a name, and GetUser never."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def GetUser(self, request: features_pb2.GetUserRequest, context: Any) -> features_pb2.GetUserResponse:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def GetInfo(self, request: features_pb2.GetInfoRequest, context: Any) -> features_pb2.GetInfoResponse:
        return features_pb2.GetInfoResponse(info=common_pb2.ServerInfo(service=context.peer()))


REGISTRATION = Registration(SERVICE, features_pb2_grpc.add_FeatureStoreServiceServicer_to_server, PeerServicer())


async def test_a_server_that_waits_is_alive_and_not_ready() -> None:
    """Kubernetes must not restart it, and must not send it calls."""
    running = await start_server("127.0.0.1:0", [REGISTRATION], serving=False)
    try:
        async with aio_channel(f"127.0.0.1:{running.port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            async def status(service: str) -> int:
                reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
                return int(reply.status)

            assert [await status(name) for name in (LIVE, "", SERVICE)] == [SERVING, NOT_SERVING, NOT_SERVING]
            await running.set_serving(True)
            assert [await status(name) for name in (LIVE, "", SERVICE)] == [SERVING, SERVING, SERVING]
    finally:
        await running.stop(0)


async def test_old_connections_are_replaced_without_a_failed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller looks names up again only when it connects again: that is how it finds new pods."""
    monkeypatch.setattr(server_kit, "MAX_CONNECTION_AGE_MS", 100)
    running = await start_server("127.0.0.1:0", [REGISTRATION])
    try:
        async with aio_channel(f"127.0.0.1:{running.port}") as channel:
            stub: Any = features_pb2_grpc.FeatureStoreServiceStub(channel)
            connections = set()
            while len(connections) < 3:  # each is closed after some 100 ms; the test's own timeout bounds this
                reply = await stub.GetInfo(features_pb2.GetInfoRequest())
                connections.add(reply.info.service)
    finally:
        await running.stop(0)


async def test_a_call_whose_time_ran_out_is_told_from_one_whose_caller_left() -> None:
    """The first is the server's failure, and counts in alerts."""

    def count(code: str) -> float:
        labels = {"method": "GetUser", "code": code}
        return REGISTRY.get_sample_value("recstack_rpc_seconds_count", labels) or 0.0

    servicer = PeerServicer()
    add = features_pb2_grpc.add_FeatureStoreServiceServicer_to_server
    running = await start_server("127.0.0.1:0", [Registration(SERVICE, add, servicer)])
    before = {code: count(code) for code in ("DEADLINE_EXCEEDED", "CANCELLED")}
    try:
        async with aio_channel(f"127.0.0.1:{running.port}") as channel:
            stub: Any = features_pb2_grpc.FeatureStoreServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetUser(features_pb2.GetUserRequest(), timeout=0.2)
            servicer.asked.clear()
            call = stub.GetUser(features_pb2.GetUserRequest(), timeout=600)
            await servicer.asked.wait()
            call.cancel()
            # Servers notice a moment later than callers; the test's own timeout bounds this.
            while any(count(code) == before[code] for code in before):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await running.stop(0)
    assert {code: count(code) - before[code] for code in before} == {"DEADLINE_EXCEEDED": 1, "CANCELLED": 1}


async def test_the_probe_says_what_a_container_health_check_needs() -> None:
    """Exit status 0 for SERVING alone; the word for everything else."""
    running = await start_server("127.0.0.1:0", [REGISTRATION], serving=False)
    address = f"127.0.0.1:{running.port}"
    try:
        assert await asyncio.to_thread(probe, address) == "NOT_SERVING"
        assert await asyncio.to_thread(probe, address, LIVE) == "SERVING"
        assert await asyncio.to_thread(probe, address, "no such service") == "NOT_FOUND"
        await running.set_serving(True)
        command = [sys.executable, "-m", "recstack.rpc.probe", address]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"SERVING\n"
        assert process.returncode == 0
    finally:
        await running.stop(0)
    assert await asyncio.to_thread(probe, address) == "UNREACHABLE"
