"""The read side: users, items and counters out of Redis, each in one round trip."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from recstack import tracing
from recstack.api.common.v1 import common_pb2
from recstack.features.codec import DecodedRows, RowCodec
from recstack.features.schema import HISTORY_RECORD, ITEM, SCHEMA, USER
from services.feature_store import keys
from services.feature_store.connection import RedisClient, redis_errors
from services.feature_store.pipelined_reads import Reads

COUNTED_TYPES = (
    common_pb2.EVENT_TYPE_IMPRESSION,
    common_pb2.EVENT_TYPE_CLICK,
    common_pb2.EVENT_TYPE_WATCH,
    common_pb2.EVENT_TYPE_RATING,
)
"""Event types in the column order of `item_counters`."""

_COUNTERS = np.dtype(("<i8", len(COUNTED_TYPES)))
_NO_COUNTERS = bytes(_COUNTERS.itemsize)

# Every item is looked up in all shards: 500 items × 64 shards are 32,000 values per round trip, a few milliseconds of
# Redis's only thread.
_ITEMS_PER_COUNTER_READ = 500


def epoch_ms() -> int:
    """Now, epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class UserFeatures:
    """What is stored of one user.

    profile: one decoded row. history [H] HISTORY_RECORD in event-time order, whole. redis_ms: wait for Redis.
    """

    profile: DecodedRows
    history: NDArray[np.void]
    redis_ms: float


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """Decoded rows of many items, in request order. redis_ms: wait for Redis."""

    items: DecodedRows
    redis_ms: float


class FeatureStore:
    """Reads features. TTLs are applied against `clock` (epoch milliseconds) when a row is read.

    reads: what rows and histories are read with, `redis` if not given. user_ttl_ms, item_ttl_ms: 0 means forever. All
    methods raise UnavailableError when Redis is down, and BundleError when it holds rows of another feature schema.
    """

    def __init__(
        self,
        redis: RedisClient,
        address: str,
        max_history: int,
        reads: Reads | None = None,
        user_ttl_ms: int = 0,
        item_ttl_ms: int = 0,
        clock: Callable[[], int] = epoch_ms,
    ) -> None:
        self._redis = redis
        # The client does not decode responses, so no value is a str.
        self._reads = reads or cast(Reads, redis)
        self._address = address
        self._max_history = max_history
        self._users = RowCodec(SCHEMA, USER, user_ttl_ms)
        self._items = RowCodec(SCHEMA, ITEM, item_ttl_ms)
        self._clock = clock

    async def user(self, user_id: int) -> UserFeatures:
        """Profile and history of one user; MISSING and empty when the user is unknown."""
        start = time.perf_counter()
        profile, history = await self._mget([keys.profile(user_id), keys.history(user_id)])
        redis_ms = (time.perf_counter() - start) * 1e3
        records = np.frombuffer(history or b"", HISTORY_RECORD)[-self._max_history :]
        return UserFeatures(self._users.decode([profile], self._clock()), records, redis_ms)

    async def items(self, item_ids: Sequence[int]) -> ItemFeatures:
        """Rows of items, in order; MISSING where an item is unknown."""
        start = time.perf_counter()
        values = await self._mget([keys.item(item_id) for item_id in item_ids]) if item_ids else []
        redis_ms = (time.perf_counter() - start) * 1e3
        return ItemFeatures(self._items.decode(values, self._clock()), redis_ms)

    async def unknown_items(self, item_ids: Sequence[int]) -> list[int]:
        """Those of `item_ids` that are not in the catalogue, ascending."""
        distinct = sorted(set(item_ids))
        with redis_errors(self._address):
            if await self._redis.exists(*map(keys.item, distinct)) == len(distinct):
                return []
            async with self._redis.pipeline(transaction=False) as pipeline:
                for item_id in distinct:
                    pipeline.exists(keys.item(item_id))
                found = await pipeline.execute()
        return [item_id for item_id, exists in zip(distinct, found, strict=True) if not exists]

    async def item_counters(self, item_ids: Sequence[int]) -> NDArray[np.int64]:
        """[N, 4] events per item and type (columns COUNTED_TYPES), summed over all shards."""
        counts = np.zeros((len(item_ids), len(COUNTED_TYPES)), np.int64)
        for start in range(0, len(item_ids), _ITEMS_PER_COUNTER_READ):
            chunk = list(item_ids[start : start + _ITEMS_PER_COUNTER_READ])
            with redis_errors(self._address):
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for shard in range(keys.NUM_SHARDS):
                        pipeline.hmget(keys.item_counters(shard), chunk)
                    shards = await pipeline.execute()
            for values in shards:
                packed = b"".join([value or _NO_COUNTERS for value in values])
                counts[start : start + len(chunk)] += np.frombuffer(packed, _COUNTERS)
        return counts

    async def _mget(self, names: list[bytes]) -> list[bytes | None]:
        with redis_errors(self._address), tracing.redis_call("MGET", self._address):
            return await self._reads.mget(names)
