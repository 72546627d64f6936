"""Redis goes away and comes back: clear answers meanwhile, nothing acknowledged is lost, no restart needed."""

import os
import signal
from pathlib import Path

import grpc
import pytest
import redis
from feature_store_kit import CLICK, StoreUnderTest, history_of, item_chunk, load, running_store, write_request
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.api.features.v1 import features_pb2 as pb
from recstack.errors import StackError
from recstack.redis_server import RedisServer
from services.feature_store.servicer import SERVICE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def wait_for_health(store: StoreUnderTest, status: int, service: str = "") -> None:
    """Return when the service's health is `status`."""
    stub = health_pb2_grpc.HealthStub(store.channel)
    call = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30)
    async for reply in call:
        if reply.status == status:
            call.cancel()
            return


async def refuse_clearly(call) -> None:
    """The call must fail UNAVAILABLE, with the address and a question that helps."""
    with pytest.raises(
        grpc.aio.AioRpcError, match=r"cannot reach Redis at 127\.0\.0\.1:\d+; is it running\?"
    ) as refusal:
        await call
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_killed_redis_is_unavailable_and_everything_acknowledged_is_back_after_its_restart(tmp_path: Path):
    server = RedisServer(tmp_path, appendfsync="always")
    server.start()
    try:
        async with running_store(server.url, durability="fsync") as store:
            await load(store, item_chunk([1, 2]))
            await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 10, 0.0), ("b", CLICK, 2, 20, 0.0)))
            await wait_for_health(store, SERVING)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            await refuse_clearly(store.stub.GetUser(pb.GetUserRequest(user_id=1)))
            await refuse_clearly(store.stub.GetItems(pb.GetItemsRequest(item_ids=[1], plan="ranking")))
            await refuse_clearly(store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=[1])))
            await refuse_clearly(store.stub.WriteEvents(write_request(1, ("c", CLICK, 2, 30, 0.0))))
            await refuse_clearly(load(store, item_chunk([3])))
            await wait_for_health(store, NOT_SERVING)
            await wait_for_health(store, NOT_SERVING, SERVICE)

            server.start()
            again = write_request(1, ("b", CLICK, 2, 20, 0.0), ("c", CLICK, 2, 30, 0.0))
            assert list((await store.stub.WriteEvents(again)).written) == [False, True]
            assert [time for _, time, _ in await history_of(store, 1)] == [10, 20, 30]
            await wait_for_health(store, SERVING)
            await wait_for_health(store, SERVING, SERVICE)
    finally:
        server.stop()


async def test_the_service_boots_without_redis_and_serves_when_it_comes(tmp_path: Path):
    server = RedisServer(tmp_path)
    async with running_store(server.url) as store:
        await wait_for_health(store, NOT_SERVING)
        await refuse_clearly(store.stub.GetUser(pb.GetUserRequest(user_id=1)))
        assert (await store.stub.GetInfo(pb.GetInfoRequest())).info.service == "recstack.feature_store"
        with server:
            await wait_for_health(store, SERVING)
            await load(store, item_chunk([1]))


async def test_fsync_is_refused_on_a_redis_that_does_not_promise_it(redis_url: str):
    with pytest.raises(StackError, match=r"everysec.*--appendonly yes --appendfsync always, or set"):
        async with running_store(redis_url, durability="fsync"):
            pass


async def test_fsync_is_checked_again_when_redis_comes_back_with_another_configuration(tmp_path: Path):
    server = RedisServer(tmp_path, appendfsync="always")
    async with running_store(server.url, durability="fsync") as store:
        with server:
            await load(store, item_chunk([1]))
            await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 10, 0.0)))
            await wait_for_health(store, SERVING)
        await wait_for_health(store, NOT_SERVING)
        with RedisServer(tmp_path, port=server.port, appendfsync="everysec"):
            with pytest.raises(grpc.aio.AioRpcError, match=r"durability is 'fsync', but Redis .*everysec") as refusal:
                await store.stub.WriteEvents(write_request(1, ("b", CLICK, 1, 20, 0.0)))
            assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert [time for _, time, _ in await history_of(store, 1)] == [10]


async def test_a_redis_that_hangs_is_given_up_on_in_time(tmp_path: Path):
    with RedisServer(tmp_path) as server:
        async with running_store(server.url, redis_timeout_ms=50) as store:
            await wait_for_health(store, SERVING)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(grpc.aio.AioRpcError, match="did not answer in time") as refusal:
                    await store.stub.GetUser(pb.GetUserRequest(user_id=1), timeout=20)
                assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await wait_for_health(store, SERVING)


async def test_a_lost_script_cache_is_filled_again(redis_url: str):
    async with running_store(redis_url) as store:
        await load(store, item_chunk([1]))
        await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 10, 0.0)))
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
        assert list((await store.stub.WriteEvents(write_request(1, ("b", CLICK, 1, 20, 0.0)))).written) == [True]


async def test_a_full_redis_takes_all_of_a_call_or_nothing(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        async with running_store(redis_url) as store:
            await load(store, item_chunk([1]))
            events = write_request(1, *((f"e{n}", CLICK, 1, 10, 0.0) for n in range(50)))
            before = sorted(client.keys())
            client.config_set("maxmemory", "1kb")
            try:
                with pytest.raises(grpc.aio.AioRpcError, match=r"takes no writes now: .*maxmemory") as refusal:
                    await store.stub.WriteEvents(events)
                assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
                assert sorted(client.keys()) == before
            finally:
                client.config_set("maxmemory", "0")
            assert list((await store.stub.WriteEvents(events)).written) == [True] * 50
