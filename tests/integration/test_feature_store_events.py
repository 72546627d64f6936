"""Writing events through the service: idempotent, in time order, bounded, and exact under concurrency."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import redis
from feature_store_kit import (
    CLICK,
    IMPRESSION,
    RATING,
    WATCH,
    StoreUnderTest,
    history_of,
    item_chunk,
    load,
    running_store,
    write_request,
)

from recstack.api.features.v1 import features_pb2 as pb
from services.feature_store import keys

MAX_HISTORY = 500
ITEMS = range(1, 41)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[StoreUnderTest]:
    """A service whose catalogue holds ITEMS."""
    async with running_store(redis_url, max_history=MAX_HISTORY, dedupe_seconds=3600) as store:
        await load(store, item_chunk(ITEMS))
        yield store


async def test_repeating_a_call_changes_nothing(store):
    request = write_request(1, ("a", CLICK, 1, 10, 0.0), ("b", RATING, 2, 20, 5.0), ("i", IMPRESSION, 3, 30, 0.0))
    first = await store.stub.WriteEvents(request)
    before = await history_of(store, 1, MAX_HISTORY)
    second = await store.stub.WriteEvents(request)
    assert (list(first.written), first.history_length) == ([True, True, True], 2)
    assert (list(second.written), second.history_length) == ([False, False, False], 2)
    assert await history_of(store, 1, MAX_HISTORY) == before
    counters = await store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=[1, 2, 3]))
    assert (list(counters.clicks), list(counters.ratings)) == ([1, 0, 0], [0, 1, 0])
    assert list(counters.impressions) == [0, 0, 1]


async def test_a_call_that_overlaps_an_earlier_one_writes_the_rest(store):
    await store.stub.WriteEvents(write_request(1, ("b", CLICK, 2, 20, 0.0)))
    reply = await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 10, 0.0), ("b", CLICK, 2, 20, 0.0)))
    assert (list(reply.written), reply.history_length) == ([True, False], 2)


async def test_an_event_id_is_per_user_and_forgotten_after_its_time(store, redis_server):
    replies = [await store.stub.WriteEvents(write_request(user, ("a", CLICK, 1, 10, 0.0))) for user in (1, 65)]
    assert [list(reply.written) for reply in replies] == [[True], [True]]
    with redis.Redis.from_url(redis_server.url) as client:
        assert 0 < client.ttl(keys.seen_event(1, "a")) <= 3600


async def test_late_events_go_where_they_belong_and_ties_after_what_is_there(store):
    await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 100, 0.0), ("b", CLICK, 2, 200, 0.0)))
    late = write_request(
        1, ("c", CLICK, 3, 200, 0.0), ("d", WATCH, 4, 50, 0.0), ("e", CLICK, 5, 150, 0.0), ("f", CLICK, 6, 200, 0.0)
    )
    await store.stub.WriteEvents(late)
    times = [(item, time) for item, time, _ in await history_of(store, 1, MAX_HISTORY)]
    assert times == [(4, 50), (1, 100), (5, 150), (2, 200), (3, 200), (6, 200)]


async def test_the_oldest_fall_off_and_an_event_older_than_a_full_history_is_not_kept(store):
    for start in range(0, MAX_HISTORY + 20, 260):
        batch = ((f"e{n}", CLICK, 1 + n % 40, 1000 + n, 0.0) for n in range(start, start + 260))
        reply = await store.stub.WriteEvents(write_request(1, *batch))
    assert reply.history_length == MAX_HISTORY
    assert [time for _, time, _ in await history_of(store, 1, MAX_HISTORY)] == list(range(1020, 1520))
    reply = await store.stub.WriteEvents(write_request(1, ("old", CLICK, 7, 1, 0.0)))
    assert (list(reply.written), reply.history_length) == ([True], MAX_HISTORY)
    assert (await history_of(store, 1, MAX_HISTORY))[0][1] == 1020


async def test_concurrent_writers_lose_nothing_and_write_nothing_twice(store):
    """8 writers × 50 calls on two users of one shard; every event is sent by three of them."""
    draw = random.Random(7)
    users = (3, 67)
    events = [(draw.choice(users), (f"e{n}", CLICK, draw.choice(ITEMS), draw.randint(1, 99), 0.0)) for n in range(133)]
    sends = [event for event in events for _ in range(3)]
    draw.shuffle(sends)
    written: list[str] = []

    async def writer(part: list) -> None:
        for user_id, event in part:
            reply = await store.stub.WriteEvents(write_request(user_id, event))
            written.extend([event[0]] if reply.written[0] else [])

    await asyncio.gather(*(writer(sends[start::8]) for start in range(8)))
    assert sorted(written) == sorted(event[0] for _, event in events)
    for user_id in users:
        expected = [(event[3], event[2]) for user, event in events if user == user_id]
        stored = [(time, item) for item, time, _ in await history_of(store, user_id, MAX_HISTORY)]
        assert [time for time, _ in stored] == sorted(time for time, _ in stored)
        assert sorted(stored) == sorted(expected)
    counters = await store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=ITEMS))
    assert list(counters.clicks) == [sum(event[2] == item for _, event in events) for item in ITEMS]


async def test_counters_of_more_items_than_one_round_trip_holds(store):
    await load(store, item_chunk(range(1, 1101)))
    await store.stub.WriteEvents(write_request(1, *((f"e{n}", CLICK, n, 5, 0.0) for n in (1, 500, 501, 1100))))
    counters = await store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=range(1, 1101)))
    assert [n + 1 for n, clicks in enumerate(counters.clicks) if clicks] == [1, 500, 501, 1100]
