"""The feature store over gRPC: what it answers, what it refuses, and with which words."""

from collections.abc import AsyncIterator

import grpc
import numpy as np
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
    user_chunk,
    write_request,
)

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2 as pb
from recstack.config import TtlSettings
from recstack.features.schema import HISTORY_RECORD, SCHEMA
from services.feature_store import keys

NOW = 1_700_000_000_000
MAX_HISTORY, MAX_ITEMS, MAX_EVENTS, SKEW = 20, 30, 6, 1_000
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[StoreUnderTest]:
    """A service with small limits, a clock that stands at NOW, and items 1..9."""
    limits = {"max_history": MAX_HISTORY, "max_items": MAX_ITEMS, "max_events": MAX_EVENTS, "max_clock_skew_ms": SKEW}
    async with running_store(redis_url, clock=lambda: NOW, ttl=TtlSettings(user=10, item=0), **limits) as store:
        await load(store, item_chunk(range(1, 10)))
        yield store


def histories(user_ids, lengths, records) -> pb.LoadRequest:
    """A load chunk of histories."""
    data = np.array(records, HISTORY_RECORD).tobytes()
    chunk = pb.HistoryChunk(user_ids=user_ids, lengths=lengths, records=data)
    return pb.LoadRequest(schema_hash=SCHEMA.hash, event_time_ms=1, histories=chunk)


def row_chunk(**fields) -> pb.LoadRequest:
    """A load chunk of rows."""
    return pb.LoadRequest(schema_hash=SCHEMA.hash, event_time_ms=1, rows=pb.RowChunk(**fields))


async def test_an_unknown_user_is_missing_not_an_error(store):
    reply = await store.stub.GetUser(pb.GetUserRequest(user_id=404, history_length=5))
    assert reply.profile == common_pb2.UserProfile()
    assert reply.profile_status == common_pb2.FEATURE_STATUS_MISSING
    assert (reply.profile_event_time_ms, list(reply.seen_item_ids), list(reply.history.item_ids)) == (0, [], [])
    assert reply.redis_ms > 0


async def test_a_profile_goes_stale_by_its_ttl_and_keeps_its_value(store):
    fresh, stale = NOW - 10_000, NOW - 10_001
    await load(store, user_chunk(1, (2, 3, 4, 5), fresh), user_chunk(2, (1, 1, 1, 1), stale))
    replies = [await store.stub.GetUser(pb.GetUserRequest(user_id=user_id)) for user_id in (1, 2)]
    assert [reply.profile_status for reply in replies] == [
        common_pb2.FEATURE_STATUS_PRESENT,
        common_pb2.FEATURE_STATUS_STALE,
    ]
    assert [reply.profile_event_time_ms for reply in replies] == [fresh, stale]
    assert replies[0].profile == common_pb2.UserProfile(gender=2, age=3, occupation=4, region=5)
    assert replies[1].profile == common_pb2.UserProfile(gender=1, age=1, occupation=1, region=1)


async def test_history_is_the_most_recent_part_and_seen_is_everything(store):
    records = [(item, 100 * item, 4.0, RATING) for item in (3, 4, 4, 9)]
    await load(store, histories([7, 8], [4, 1], [*records, (5, 1, 0.0, CLICK)]))
    reply = await store.stub.GetUser(pb.GetUserRequest(user_id=7, history_length=2))
    assert list(reply.history.item_ids) == [4, 9]
    assert list(reply.history.timestamps_ms) == [400, 900]
    assert list(reply.history.ratings) == [4.0, 4.0]
    assert list(reply.seen_item_ids) == [3, 4, 9]
    assert await history_of(store, 8, 1) == [(5, 1, 0.0)]
    nothing = await store.stub.GetUser(pb.GetUserRequest(user_id=7, history_length=0))
    assert list(nothing.history.item_ids) == []
    assert list(nothing.seen_item_ids) == [3, 4, 9]


async def test_a_loaded_history_keeps_its_newest_events(store, redis_server):
    records = [(1 + n % 9, n + 1, 1.0, RATING) for n in range(MAX_HISTORY + 3)]
    await load(store, histories([7, 8], [len(records), 1], [*records, records[0]]))
    assert await history_of(store, 7, MAX_HISTORY) == [(i, t, r) for i, t, r, _ in records[3:]]
    assert await history_of(store, 8, MAX_HISTORY) == [(1, 1, 1.0)]
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.strlen(keys.history(7)) == MAX_HISTORY * HISTORY_RECORD.itemsize


async def test_a_lowered_limit_holds_for_histories_that_are_longer(store, redis_server):
    await load(store, histories([7], [5], [(n, n, 1.0, RATING) for n in range(1, 6)]))
    async with running_store(redis_server.url, max_history=3) as lowered:
        assert [item for item, _, _ in await history_of(lowered, 7, 3)] == [3, 4, 5]
        reply = await lowered.stub.WriteEvents(write_request(7, ("i", IMPRESSION, 1, NOW, 0.0)))
        assert reply.history_length == 3


# The test's own commands, the health monitor's, and a new connection's greeting.
NOT_OF_A_READ = ("cmdstat_config", "cmdstat_ping", "cmdstat_client")


async def test_one_read_is_one_redis_command(store, redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        for method, request in (
            (store.stub.GetUser, pb.GetUserRequest(user_id=1, history_length=5)),
            (store.stub.GetItems, pb.GetItemsRequest(item_ids=range(1, 20), plan="display")),
        ):
            client.config_resetstat()
            await method(request)
            stats = client.info("commandstats")
            used = {name: stats[name]["calls"] for name in stats if not name.startswith(NOT_OF_A_READ)}
            assert used == {"cmdstat_mget": 1}


async def test_items_come_in_request_order_with_duplicates_and_unknowns(store):
    reply = await store.stub.GetItems(pb.GetItemsRequest(item_ids=[3, 99, 1, 3], plan="display"))
    present, missing = common_pb2.FEATURE_STATUS_PRESENT, common_pb2.FEATURE_STATUS_MISSING
    assert list(reply.statuses) == [present, missing, present, present]
    assert list(reply.event_times_ms) == [1000, 0, 1000, 1000]
    columns = {column.name: np.frombuffer(column.data, column.dtype) for column in reply.columns}
    assert [(column.name, column.dtype, column.width) for column in reply.columns] == [
        ("year", "<i2", 1),
        ("genres", "|u1", 6),
        ("title", "|S128", 1),
    ]
    assert columns["year"].tolist() == [1903, 0, 1901, 1903]
    assert columns["genres"].reshape(4, 6)[:, 0].tolist() == [4, 0, 2, 4]
    assert columns["title"].tolist() == [b"Item 3", b"", b"Item 1", b"Item 3"]


async def test_the_ranking_plan_leaves_titles_out(store):
    reply = await store.stub.GetItems(pb.GetItemsRequest(item_ids=[3], plan="ranking"))
    assert [column.name for column in reply.columns] == ["year", "genres"]


async def test_no_items_is_an_empty_answer(store):
    reply = await store.stub.GetItems(pb.GetItemsRequest(plan="ranking"))
    assert list(reply.statuses) == []
    assert [column.data for column in reply.columns] == [b"", b""]
    assert list((await store.stub.GetItemCounters(pb.GetItemCountersRequest())).clicks) == []


async def test_limits_are_published(store):
    info = (await store.stub.GetInfo(pb.GetInfoRequest())).info
    assert (info.service, info.schema_hash) == ("recstack.feature_store", SCHEMA.hash)
    assert dict(info.limits) == {
        "max_history": MAX_HISTORY,
        "max_items": MAX_ITEMS,
        "max_events": MAX_EVENTS,
        "max_clock_skew_ms": SKEW,
        "max_event_id_bytes": 64,
    }


GOOD = ("e", CLICK, 1, NOW, 0.0)
REFUSED = [
    ("GetUser", pb.GetUserRequest(user_id=-1), "user_id is -1"),
    ("GetUser", pb.GetUserRequest(history_length=MAX_HISTORY + 1), "history_length is 21; it must be between 0 and 20"),
    ("GetItems", pb.GetItemsRequest(item_ids=[1, -5], plan="ranking"), r"item_ids\[1\] is -5; it must be > 0"),
    ("GetItems", pb.GetItemsRequest(item_ids=[0], plan="ranking"), r"item_ids\[0\] is 0"),
    ("GetItems", pb.GetItemsRequest(item_ids=range(1, MAX_ITEMS + 2), plan="ranking"), "item_ids has 31 entries"),
    ("GetItems", pb.GetItemsRequest(item_ids=[1], plan="all"), "plan is 'all'; it must be one of .*display.*ranking"),
    ("GetItemCounters", pb.GetItemCountersRequest(item_ids=[-5]), r"item_ids\[0\] is -5"),
    ("GetItemCounters", pb.GetItemCountersRequest(item_ids=range(1, MAX_ITEMS + 2)), "item_ids has 31 entries"),
    ("WriteEvents", write_request(-3, GOOD), "user_id is -3"),
    ("WriteEvents", write_request(1), "event_ids has 0 entries"),
    (
        "WriteEvents",
        write_request(1, *((f"e{n}", CLICK, 1, NOW, 0.0) for n in range(MAX_EVENTS + 1))),
        "event_ids has 7 entries; it must have between 1 and 6",
    ),
    ("WriteEvents", pb.WriteEventsRequest(event_ids=["a"], types=[CLICK]), "parallel columns must have one length"),
    ("WriteEvents", write_request(1, GOOD, ("", CLICK, 1, NOW, 0.0)), r"event_ids\[1\] has 0 bytes"),
    ("WriteEvents", write_request(1, ("é" * 33, CLICK, 1, NOW, 0.0)), r"event_ids\[0\] has 66 bytes; .* 1\.\.64"),
    ("WriteEvents", write_request(1, GOOD, GOOD), "event id 'e' occurs 2 times"),
    ("WriteEvents", write_request(1, ("e", 0, 1, NOW, 0.0)), r"types\[0\] is 0; it must be one of \[1, 2, 3, 4\]"),
    ("WriteEvents", write_request(1, ("e", 5, 1, NOW, 0.0)), r"types\[0\] is 5"),
    ("WriteEvents", write_request(1, ("e", CLICK, -1, NOW, 0.0)), r"item_ids\[0\] is -1"),
    ("WriteEvents", write_request(1, GOOD, ("f", CLICK, 1, 0, 0.0)), r"timestamps_ms\[1\] is 0"),
    ("WriteEvents", write_request(1, ("e", CLICK, 1, NOW + SKEW + 1, 0.0)), "at most 1000 ms ahead of now"),
    (
        "WriteEvents",
        write_request(1, ("e", RATING, 1, NOW, 0.0)),
        r"ratings\[0\] is 0\.0; it must be 1\.\.5 for a RATI",
    ),
    ("WriteEvents", write_request(1, ("e", RATING, 1, NOW, 5.5)), r"ratings\[0\] is 5\.5"),
    ("WriteEvents", write_request(1, ("e", RATING, 1, NOW, float("nan"))), r"ratings\[0\] is nan"),
    ("WriteEvents", write_request(1, ("e", WATCH, 1, NOW, 3.0)), r"ratings\[0\] is 3\.0.* 0 for any other"),
]


@pytest.mark.parametrize(("method", "request_", "message"), REFUSED, ids=[f"{m}: {text}" for m, _, text in REFUSED])
async def test_bad_requests_are_refused_with_the_field_the_value_and_the_limit(store, method, request_, message):
    with pytest.raises(grpc.aio.AioRpcError, match=message) as refusal:
        await getattr(store.stub, method)(request_)
    assert refusal.value.code() == INVALID
    assert "Traceback" not in refusal.value.details()


GOOD_RECORD = (1, 5, 3.0, RATING)
BAD_CHUNKS = [
    (pb.LoadRequest(schema_hash=SCHEMA.hash), "holds neither rows nor histories"),
    (row_chunk(feature_set="movie", ids=[1], rows=b"x"), "feature_set is 'movie'; it must be one of .*item.*user"),
    (row_chunk(feature_set="user", ids=[1, 2], rows=b"1234"), "rows has 4 bytes; 2 records of 4 bytes need 8"),
    (row_chunk(feature_set="user", ids=[-1], rows=b"1234"), "ids holds -1"),
    (user_chunk(1, (1, 1, 1, 1), event_time_ms=0), "event_time_ms is 0"),
    (histories([1, 2], [1], [GOOD_RECORD]), "parallel columns"),
    (histories([1], [2], [GOOD_RECORD]), "records has 21 bytes; 2 records of 21 bytes need 42"),
    (histories([-2], [1], [GOOD_RECORD]), "user_ids holds -2"),
    (histories([1], [2], [(1, 5, 3.0, RATING), (1, 4, 3.0, RATING)]), "oldest first; record 1 goes back"),
    (histories([1], [1], [(1, 5, 3.0, IMPRESSION)]), "history record 0 .* event type that is an interaction"),
    (histories([1], [1], [(1, 5, float("nan"), RATING)]), "history record 0"),
]


@pytest.mark.parametrize(("chunk", "message"), BAD_CHUNKS, ids=[text for _, text in BAD_CHUNKS])
async def test_malformed_chunks_are_refused(store, chunk, message):
    with pytest.raises(grpc.aio.AioRpcError, match=message) as refusal:
        await load(store, chunk)
    assert refusal.value.code() == INVALID


async def test_a_load_of_another_schema_names_both_hashes(store):
    with pytest.raises(grpc.aio.AioRpcError, match=f"'0123456789abcdef'.*'{SCHEMA.hash}'") as refusal:
        await load(store, item_chunk([50]), item_chunk([51], schema_hash="0123456789abcdef"))
    assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_rows_stored_under_another_schema_are_a_failed_precondition(store, redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(keys.item(5), b"bytes of an older schema")
    with pytest.raises(grpc.aio.AioRpcError, match="load the features of the active bundle again") as refusal:
        await store.stub.GetItems(pb.GetItemsRequest(item_ids=[4, 5], plan="ranking"))
    assert refusal.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_events_on_unknown_items_are_refused_as_a_whole(store):
    request = write_request(1, GOOD, ("f", CLICK, 77, NOW, 0.0), ("g", CLICK, 66, NOW, 0.0))
    with pytest.raises(grpc.aio.AioRpcError, match=r"not in the catalogue: 66, 77;.*load features first") as refusal:
        await store.stub.WriteEvents(request)
    assert refusal.value.code() == grpc.StatusCode.NOT_FOUND
    assert await history_of(store, 1, MAX_HISTORY) == []
    reply = await store.stub.WriteEvents(write_request(1, GOOD))
    assert list(reply.written) == [True]


async def test_counters_count_each_type_and_impressions_stay_out_of_the_history(store):
    await store.stub.WriteEvents(
        write_request(
            1,
            ("a", IMPRESSION, 1, NOW, 0.0),
            ("b", CLICK, 1, NOW, 0.0),
            ("c", WATCH, 2, NOW, 0.0),
            ("d", RATING, 2, NOW, 4.5),
        )
    )
    reply = await store.stub.WriteEvents(write_request(2, ("a", CLICK, 1, NOW, 0.0), ("b", IMPRESSION, 3, NOW, 0.0)))
    assert (list(reply.written), reply.history_length) == ([True, True], 1)
    counters = await store.stub.GetItemCounters(pb.GetItemCountersRequest(item_ids=[3, 1, 2, 9, 1]))
    assert list(counters.impressions) == [1, 1, 0, 0, 1]
    assert list(counters.clicks) == [0, 2, 0, 0, 2]
    assert list(counters.watches) == [0, 0, 1, 0, 0]
    assert list(counters.ratings) == [0, 0, 1, 0, 0]
    assert await history_of(store, 1, MAX_HISTORY) == [(1, NOW, 0.0), (2, NOW, 0.0), (2, NOW, 4.5)]
