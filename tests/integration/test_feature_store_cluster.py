"""The same service on a Redis Cluster of two nodes: keys that meet in one command or script lie in one slot."""

import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
import redis
from feature_store_kit import (
    CLICK,
    IMPRESSION,
    StoreUnderTest,
    history_of,
    item_chunk,
    load,
    running_store,
    user_chunk,
    write_request,
)
from prometheus_client import REGISTRY

from recstack.api.features.v1 import features_pb2 as pb
from recstack.errors import StackError
from recstack.lifeline import tied_to_parent
from recstack.ports import free_port
from recstack.redis_server import find_redis_binary
from services.feature_store.connection import connect
from services.feature_store.redis_gauges import RedisGauges

SLOTS = ((0, 8191), (8192, 16383))


def wait_until(condition) -> None:
    """Return when `condition()` is true; connection errors mean not yet."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except redis.exceptions.RedisError:
            pass
        time.sleep(0.02)
    raise TimeoutError("the cluster did not come up")


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two nodes that share all slots, each with its own process."""
    with ExitStack() as stack:
        ports = []
        clients = []
        for slots in SLOTS:
            ports.append((free_port(), free_port()))
            clients.append(stack.enter_context(start_node(tmp_path_factory.mktemp("node"), *ports[-1])))
            clients[-1].execute_command("CLUSTER ADDSLOTSRANGE", *slots)
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", *ports[1])
        for client in clients:
            wait_until(lambda client=client: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield f"redis+cluster://127.0.0.1:{ports[0][0]}"


@contextmanager
def start_node(folder: Path, port: int, bus_port: int) -> Iterator[redis.Redis]:
    """A cluster node without slots."""
    options = f"--bind 127.0.0.1 --port {port} --cluster-port {bus_port} --cluster-enabled yes --appendonly no"
    command = [str(find_redis_binary()), *options.split(), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(tied_to_parent(command), stdout=subprocess.DEVNULL) as node:
        try:
            with redis.Redis(port=port) as client:
                wait_until(client.ping)
                yield client
        finally:
            node.terminate()


@pytest.fixture
async def store(cluster_url) -> AsyncIterator[StoreUnderTest]:
    """The service over the cluster, with items 1..20."""
    async with running_store(cluster_url) as store:
        await load(store, item_chunk(range(1, 21)))
        yield store


async def test_users_of_all_shards_are_written_and_read(store):
    for user_id in range(64):
        await load(store, user_chunk(user_id, (1, 2, 3, 4)))
        events = (("a", CLICK, 1 + user_id % 20, 20, 0.0), ("b", CLICK, 20, 10, 0.0), ("c", IMPRESSION, 3, 5, 0.0))
        reply = await store.stub.WriteEvents(write_request(user_id, *events))
        assert reply.history_length == 2
    for user_id in range(64):
        assert [item for item, _, _ in await history_of(store, user_id)] == [20, 1 + user_id % 20]
        assert (await store.stub.GetUser(pb.GetUserRequest(user_id=user_id))).profile.occupation == 3
    counters = await store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=[20, 3]))
    assert list(counters.clicks) == [64 + 3, 4]
    assert list(counters.impressions) == [0, 64]


async def test_items_are_read_in_one_call(store):
    reply = await store.stub.GetItems(pb.GetItemsRequest(item_ids=range(1, 22), plan="ranking"))
    assert list(reply.statuses) == [1] * 20 + [2]


async def test_unknown_items_are_refused(store):
    with pytest.raises(grpc.aio.AioRpcError, match="not in the catalogue: 99"):
        await store.stub.WriteEvents(write_request(1, ("z", CLICK, 99, 20, 0.0)))


async def test_fsync_must_hold_on_every_node(cluster_url):
    with redis.RedisCluster.from_url(cluster_url.replace("+cluster", "")) as client:
        first, second = client.get_primaries()
        client.config_set("appendfsync", "always", target_nodes=[first, second])
        client.config_set("appendonly", "yes", target_nodes=first)
        with pytest.raises(StackError, match=r"durability is 'fsync'.*'appendonly': 'no and yes'"):
            async with running_store(cluster_url, durability="fsync"):
                pass
        client.config_set("appendonly", "yes", target_nodes=second)
        async with running_store(cluster_url, durability="fsync") as store:
            await load(store, item_chunk([1]))
            reply = await store.stub.WriteEvents(write_request(900, ("a", CLICK, 1, 1, 0.0)))
            assert list(reply.written) == [True]


async def test_a_cluster_that_is_not_there_is_unavailable():
    async with running_store(f"redis+cluster://127.0.0.1:{free_port()}") as store:
        with pytest.raises(grpc.aio.AioRpcError, match=r"cannot reach Redis at 127\.0\.0\.1") as refusal:
            await store.stub.GetUser(pb.GetUserRequest(user_id=1))
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_gauges_add_up_the_nodes(cluster_url):
    client = connect(cluster_url, 5000)
    await RedisGauges(client, "the cluster").record()
    await client.aclose()
    with redis.RedisCluster.from_url(cluster_url.replace("+cluster", "")) as blocking:
        memory = [blocking.info("memory", target_nodes=node)["used_memory"] for node in blocking.get_primaries()]
    assert REGISTRY.get_sample_value("recstack_redis_memory_bytes") > max(memory)
