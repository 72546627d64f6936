"""Reads over one shared connection: order, cancellation, passwords, databases, and a Redis that hangs or restarts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from redis import exceptions

from recstack.redis_server import RedisServer
from services.feature_store.pipelined_reads import PipelinedReads, can_pipeline
from tests.bench.noop_server import run_on_uvloop

TIMEOUT_MS = 5000


@asynccontextmanager
async def reading(url: str, timeout_ms: int = TIMEOUT_MS) -> AsyncIterator[PipelinedReads]:
    reads = PipelinedReads(url, timeout_ms)
    yield reads
    await reads.aclose()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def store(url: str, count: int) -> list[bytes]:
    """Keys of `count` stored values; the value of a key is the key itself, long enough to come in several pieces."""
    keys = [f"key-{number}-".encode() * 1000 for number in range(count)]
    with redis.Redis.from_url(url) as client:
        client.mset({key[:20]: key for key in keys})
    return [key[:20] for key in keys]


async def test_every_reader_gets_its_own_values_in_order(redis_url: str) -> None:
    keys = store(redis_url, 50)
    async with reading(redis_url) as reads:
        answers = await asyncio.gather(*(reads.mget([key, b"unknown"]) for key in keys))

    assert [value[:20] for value, _ in answers] == keys
    assert all(unknown is None for _, unknown in answers)


async def test_a_reader_that_has_gone_leaves_the_others_their_answers(redis_url: str) -> None:
    keys = store(redis_url, 20)
    async with reading(redis_url) as reads:
        await reads.mget(keys[:1])
        calls = [asyncio.create_task(reads.mget([key])) for key in keys]
        await asyncio.sleep(0)  # all are sent
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls[1::2])

    assert [value[:20] for (value,) in answers] == keys[1::2]


async def test_a_password_and_a_database_of_the_url_are_used(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "open sesame")
    address = f"127.0.0.1:{own_server.port}"
    url = f"redis://:open%20sesame@{address}/3"
    keys = store(url, 1)
    async with reading(url) as reads, reading(f"redis://:open%20sesame@{address}/0") as other_database:
        assert (await reads.mget(keys))[0][:20] == keys[0]
        assert await other_database.mget(keys) == [None]
    for refused in (f"redis://:wrong@{address}/3", f"redis://{address}/3"):
        async with reading(refused) as reads:
            with pytest.raises(exceptions.AuthenticationError):
                await reads.mget(keys)


async def test_it_connects_again_after_a_restart(own_server: RedisServer) -> None:
    keys = store(own_server.url, 1)
    async with reading(own_server.url) as reads:
        before = await reads.mget(keys)
        own_server.stop()
        with pytest.raises((exceptions.ConnectionError, OSError)):
            await reads.mget(keys)
        own_server.start()
        assert await reads.mget(keys) == before


async def test_a_redis_that_hangs_fails_all_who_wait_and_recovers(own_server: RedisServer) -> None:
    keys = store(own_server.url, 1)
    assert own_server.pid is not None
    async with reading(own_server.url, timeout_ms=100) as reads:
        await reads.mget(keys)
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(reads.mget(keys) for _ in range(3)), return_exceptions=True)
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert [type(answer) for answer in answers] == [exceptions.TimeoutError] * 3
    async with reading(own_server.url) as reads:
        assert await reads.mget(keys) != [None]


async def test_a_command_that_redis_refuses_breaks_nothing(redis_url: str) -> None:
    keys = store(redis_url, 1)
    async with reading(redis_url) as reads:
        with pytest.raises(exceptions.ResponseError, match="wrong number of arguments"):
            await reads.mget([])
        assert (await reads.mget(keys))[0][:20] == keys[0]


def test_it_works_on_the_event_loop_that_services_use(redis_url: str) -> None:
    keys = store(redis_url, 2)

    async def read() -> list[bytes | None]:
        async with reading(redis_url) as reads:
            return await reads.mget(keys)

    assert [value[:20] for value in run_on_uvloop(read())] == keys


def test_only_plain_tcp_is_pipelined() -> None:
    assert can_pipeline("redis://localhost:6379/0")
    for url in ("rediss://localhost:6379/0", "unix:///tmp/redis.sock", "redis+cluster://localhost:7000"):
        assert not can_pipeline(url)
