"""What the feature store tells of Redis' memory and disk, from a real Redis whose disk really fails."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client import REGISTRY

from recstack.errors import UnavailableError
from recstack.redis_server import RedisServer
from services.feature_store.connection import RedisClient, connect
from services.feature_store.redis_gauges import RedisGauges

PATIENCE = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own, as this test takes its folder away."""
    server = RedisServer(tmp_path / "redis", 0, "everysec", tmp_path / "redis.log")
    server.start()
    yield server
    server.stop()


async def recorded(client: RedisClient) -> dict[str, float]:
    await RedisGauges(client, "its address").record()
    names = ("memory_bytes", "memory_share", "not_saving")
    return {name: REGISTRY.get_sample_value(f"recstack_redis_{name}") or 0.0 for name in names}


async def test_memory_and_its_limit(server: RedisServer) -> None:
    client = connect(server.url, 5000)
    told = await recorded(client)
    assert told["memory_bytes"] > 100_000
    assert (told["memory_share"], told["not_saving"]) == (0, 0)

    await client.config_set("maxmemory", int(2 * told["memory_bytes"]))
    assert (await recorded(client))["memory_share"] == pytest.approx(0.5, rel=0.2)
    await client.aclose()


async def test_a_disk_that_fails(server: RedisServer, tmp_path: Path) -> None:
    client = connect(server.url, 5000)
    shutil.rmtree(tmp_path / "redis")
    with redis.Redis.from_url(server.url) as blocking:
        blocking.bgsave()
        deadline = time.monotonic() + PATIENCE
        while blocking.info("persistence")["rdb_last_bgsave_status"] == "ok":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert (await recorded(client))["not_saving"] == 1
    await client.aclose()


async def test_nobody_answers(server: RedisServer) -> None:
    client = connect(server.url, 5000)
    server.stop()
    with pytest.raises(UnavailableError, match="cannot reach Redis at its address"):
        await recorded(client)
    await client.aclose()
