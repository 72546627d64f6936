"""The feature store behind Redis Sentinel: it follows the master when it dies and when it is replaced."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from feature_store_kit import CLICK, StoreUnderTest, history_of, item_chunk, load, running_store, write_request

from recstack.errors import StackError
from services.feature_store.connection import connect, display_address
from services.feature_store.durability import DurabilityGuard
from services.feature_store.event_writer import EventWriter
from services.feature_store.sentinel import SentinelUrl
from services.feature_store.store import FeatureStore
from tests.helpers.sentinels import Watched, wait_until, watched_redis
from tests.integration.test_feature_store_outage import SERVING, wait_for_health


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_redis(tmp_path) as servers:
        yield servers


async def answer(call: Callable[[], Awaitable[Any]]) -> Any:
    """Of a call that is repeated while Redis has no master."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.05)


async def write(store: StoreUnderTest, event_id: str, at: int) -> None:
    """Write an event of user 1; its id makes it safe to repeat."""
    await answer(lambda: store.stub.WriteEvents(write_request(1, (event_id, CLICK, 1, at, 0.0))))


async def refused(store: StoreUnderTest, words: str) -> None:
    """Another event is UNAVAILABLE, and in the end (the connection may be lost first) in these words."""
    async with asyncio.timeout(60):
        while True:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await store.stub.WriteEvents(write_request(1, ("refused", CLICK, 1, 90, 0.0)))
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            if words in str(refusal.value.details()):
                return
            await asyncio.sleep(0.05)


async def times(store: StoreUnderTest) -> list[int]:
    """Of the events of user 1."""
    return [time for _, time, _ in await answer(lambda: history_of(store, 1))]


@asynccontextmanager
async def store_with_an_event(watched: Watched, **limits: int) -> AsyncIterator[StoreUnderTest]:
    """A feature store that knows item 1 and one event, at time 10."""
    async with running_store(watched.url, redis_timeout_ms=2000, **limits) as store:
        await wait_for_health(store, SERVING)
        await load(store, item_chunk([1]))
        await write(store, "a", 10)
        assert await times(store) == [10]
        await asyncio.to_thread(wait_until, watched.replicated)
        yield store


async def test_a_killed_master_is_replaced(watched: Watched) -> None:
    """What the replica had is there, writes go on, and all is well again."""
    async with store_with_an_event(watched) as store:
        first = watched.master()
        watched.kill(first)
        await write(store, "b", 20)
        assert watched.master() != first
        assert await times(store) == [10, 20]
        await wait_for_health(store, SERVING)


async def test_an_event_that_a_replica_confirmed_survives_its_master(watched: Watched) -> None:
    """Killed as soon as it has acknowledged. Where no replica is left to confirm, nothing is acknowledged."""
    async with store_with_an_event(watched, min_replicas=1) as store:
        await write(store, "b", 20)
        watched.kill(watched.master())
        assert await times(store) == [10, 20]
        await refused(store, "only 0 of 1 replicas confirmed")


async def test_a_master_that_is_replaced_while_it_lives_is_left(watched: Watched) -> None:
    """Sentinel lets it take writes for seconds before it makes it a replica: the service must not wait for that."""
    async with store_with_an_event(watched) as store:
        await asyncio.to_thread(watched.fail_over)
        async with asyncio.timeout(60):
            while "cmdstat_mget" not in watched.ask(watched.master(), "INFO", "commandstats"):
                await times(store)
                await asyncio.sleep(0.05)
        await write(store, "b", 20)
        assert await times(store) == [10, 20]

        watched.ask(watched.master(), "CONFIG", "SET", "min-replicas-to-write", 2)
        await refused(store, "takes no writes now: NOREPLICAS")
        assert await times(store) == [10, 20]


def test_a_url_says_all_that_sentinel_needs() -> None:
    """User and password are the master's, and never shown."""
    url = SentinelUrl.parse("redis+sentinel://me:s%40y@one:26380,two/shop/2?sentinel_password=quiet")
    assert url.sentinels == (("one", 26380), ("two", 26379))
    assert (url.service, url.db, url.username, url.password, url.sentinel_password) == ("shop", 2, "me", "s@y", "quiet")
    assert url.master == "redis://me:s%40y@shop/2"
    assert SentinelUrl.parse("redis+sentinel://one/shop").master == "redis://shop/0"
    assert display_address("redis+sentinel://me:secret@one/shop") == "shop (Sentinel one:26379)"


def test_replicas_of_a_cluster_are_refused_at_the_start() -> None:
    """Its client cannot wait for them: the promise must not be made."""
    cluster = connect("redis+cluster://127.0.0.1:1", 100)
    store, guard = FeatureStore(cluster, "test", 10), DurabilityGuard(cluster, "test", "memory")
    with pytest.raises(StackError, match=r"min_replicas is 1, which a Redis Cluster cannot be asked for"):
        EventWriter(cluster, "test", store, guard, 10, 60, min_replicas=1)


@pytest.mark.parametrize("rest", ["one:26379", "one:26379/", "one:port/shop/0", "one/shop/first", ",/shop"])
def test_a_url_of_another_form_is_refused_without_its_password(rest: str) -> None:
    """It says what is expected."""
    with pytest.raises(StackError, match=r"expected redis\+sentinel://") as refusal:
        SentinelUrl.parse(f"redis+sentinel://me:secret@{rest}")
    assert "secret" not in str(refusal.value)
