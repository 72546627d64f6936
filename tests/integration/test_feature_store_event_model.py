"""The event write against a model of it in plain Python: any sequence of calls, in any order of time, with repeats."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from feature_store_kit import CLICK, IMPRESSION, RATING, WATCH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstack.features.codec import RowCodec
from recstack.features.schema import HISTORY_RECORD, ITEM, SCHEMA
from services.feature_store import keys
from services.feature_store.connection import connect
from services.feature_store.durability import DurabilityGuard
from services.feature_store.event_writer import EventWriter
from services.feature_store.events import EventBatch
from services.feature_store.store import COUNTED_TYPES, FeatureStore

MAX_HISTORY = 6
ITEMS = (1, 2, 3)
USERS = (5, 5 + keys.NUM_SHARDS, 6)  # the first two share a shard


@dataclass
class Model:
    """What must be stored after a sequence of writes."""

    histories: dict[int, list[tuple]] = field(default_factory=dict)
    seen: set[tuple[int, str]] = field(default_factory=set)
    user_counters: Counter = field(default_factory=Counter)
    item_counters: Counter = field(default_factory=Counter)

    def write(self, user_id: int, events: list[tuple]) -> list[bool]:
        """Apply one call; returns what `written` must say."""
        written = []
        for event_id, item_id, timestamp_ms, event_type, rating in events:
            written.append((user_id, event_id) not in self.seen)
            if not written[-1]:
                continue
            self.seen.add((user_id, event_id))
            self.user_counters[user_id, event_type] += 1
            self.item_counters[item_id, event_type] += 1
            if event_type != IMPRESSION:
                self.histories.setdefault(user_id, []).append((item_id, timestamp_ms, rating, event_type))
        # A stable sort: ties stay in order of arrival. Trimming before the next call must equal trimming at the end.
        self.histories[user_id] = sorted(self.histories.get(user_id, []), key=lambda record: record[1])[-MAX_HISTORY:]
        return written


@st.composite
def events(draw):
    """(event id, item, time, type, rating) with few distinct ids and times, so that repeats and ties are common."""
    event_type = draw(st.sampled_from([IMPRESSION, CLICK, WATCH, RATING]))
    rating = draw(st.sampled_from([1.0, 4.5])) if event_type == RATING else 0.0
    return (
        draw(st.sampled_from("abcdefghijkl")),
        draw(st.sampled_from(ITEMS)),
        draw(st.integers(1, 8)),
        event_type,
        rating,
    )


calls = st.tuples(st.sampled_from(USERS), st.lists(events(), min_size=1, max_size=9, unique_by=lambda event: event[0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, min_size=1, max_size=6))
async def test_any_sequence_of_writes_equals_the_model(redis_url, sequence):
    redis = connect(redis_url, timeout_ms=5000)
    try:
        await redis.flushdb()
        for item_id, row in zip(ITEMS, RowCodec(SCHEMA, ITEM).encode(np.zeros(3, ITEM.record), 1), strict=True):
            await redis.set(keys.item(item_id), row)
        store = FeatureStore(redis, "test", MAX_HISTORY)
        guard = DurabilityGuard(redis, "test", "memory")
        writer = EventWriter(redis, "test", store, guard, MAX_HISTORY, dedupe_seconds=3600)
        model = Model()
        for user_id, batch in sequence:
            records = np.array([(*event[1:3], event[4], event[3]) for event in batch], HISTORY_RECORD)
            result = await writer.write(EventBatch(user_id, tuple(event[0] for event in batch), records))
            assert result.written == model.write(user_id, batch)
            assert result.history_length == len(model.histories[user_id])
        for user_id in USERS:
            assert await redis.strlen(keys.history(user_id)) <= MAX_HISTORY * HISTORY_RECORD.itemsize
            history = (await store.user(user_id)).history
            assert [tuple(record) for record in history.tolist()] == model.histories.get(user_id, [])
            counters = await redis.hgetall(keys.user_counters(user_id))
            expected = {kind: count for (user, kind), count in model.user_counters.items() if user == user_id}
            assert {int(kind): int(count) for kind, count in counters.items()} == expected
        counted = await store.item_counters(ITEMS)
        assert counted.tolist() == [[model.item_counters[item, kind] for kind in COUNTED_TYPES] for item in ITEMS]
        logged = [entry for shard in {keys.shard_of(user) for user in USERS} for entry in await log_of(redis, shard)]
        assert sorted(logged) == sorted((user_id, event_id) for user_id, event_id in model.seen)
    finally:
        await redis.aclose()


async def log_of(redis, shard) -> list[tuple[int, str]]:
    """(user id, event id) of each entry of a shard's log."""
    entries = await redis.xrange(keys.log(shard))
    return [(int(values[b"user"]), values[b"event"].decode()) for _, values in entries]
