"""The write side: one atomic, idempotent script call per request."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from redis.asyncio import RedisCluster

from recstack import tracing
from recstack.api.common.v1 import common_pb2
from recstack.errors import NotFoundError, StackError, UnavailableError
from services.feature_store import keys
from services.feature_store.connection import RedisClient, redis_errors
from services.feature_store.durability import DurabilityGuard
from services.feature_store.events import EventBatch
from services.feature_store.store import FeatureStore

_SCRIPT = Path(__file__).with_name("write_events.lua").read_text()

# About 640,000 events over all shards, some 60 MB of Redis: a tail for consumers, not an archive.
_LOG_EVENTS_PER_SHARD = 10_000
_MAX_NAMED_ITEMS = 10


@dataclass(frozen=True, slots=True)
class WriteResult:
    """written [E] in request order: False when the event id had been written before. history_length: afterwards."""

    written: list[bool]
    history_length: int


class EventWriter:
    """Writes event batches: history, counters and log change together or not at all, once per event id.

    min_replicas: replicas of Redis that must have confirmed a batch, within confirm_ms, before it counts as written.
    Raises StackError for replicas of a Redis Cluster, whose client cannot wait for them.
    """

    def __init__(
        self,
        redis: RedisClient,
        address: str,
        store: FeatureStore,
        guard: DurabilityGuard,
        max_history: int,
        dedupe_seconds: int,
        min_replicas: int = 0,
        confirm_ms: int = 100,
    ) -> None:
        if min_replicas and isinstance(redis, RedisCluster):
            raise StackError(
                f"feature_store.min_replicas is {min_replicas}, which a Redis Cluster cannot be asked for; "
                "set it to 0, and min-replicas-to-write on the nodes"
            )
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._address = address
        self._store = store
        self._guard = guard
        self._max_history = max_history
        self._dedupe_seconds = dedupe_seconds
        self._min_replicas = min_replicas
        self._confirm_ms = max(confirm_ms, 1)

    async def write(self, batch: EventBatch) -> WriteResult:
        """Write the events that are new.

        Raises NotFoundError for items outside the catalogue (nothing is written then), StackError when Redis does
        not keep the promised durability, UnavailableError when it is down. After UnavailableError the same call can
        be repeated: it writes what is still missing.
        """
        await self._guard.require()
        await self._check_items(batch)
        # Stable by time: events of one time keep their request order, here and in the script.
        order = np.argsort(batch.records["timestamp_ms"], kind="stable")
        shard = keys.shard_of(batch.user_id)
        script_keys = [
            keys.history(batch.user_id),
            keys.user_counters(batch.user_id),
            keys.item_counters(shard),
            keys.log(shard),
            *(keys.seen_event(batch.user_id, batch.event_ids[row]) for row in order),
        ]
        arguments: list[int | str | bytes] = [
            self._dedupe_seconds,
            self._max_history,
            _LOG_EVENTS_PER_SHARD,
            batch.user_id,
        ]
        for row in order:
            record = batch.records[row]
            is_interaction = int(record["type"] != common_pb2.EVENT_TYPE_IMPRESSION)
            arguments += [
                batch.event_ids[row],
                int(record["item_id"]),
                int(record["type"]),
                is_interaction,
                record.tobytes(),
            ]
        with redis_errors(self._address), tracing.redis_call("EVALSHA", self._address):
            history_length, *flags = await self._run(script_keys, arguments)
        written = np.empty(len(order), bool)
        written[order] = np.array(flags, bool)
        return WriteResult(written.tolist(), int(history_length))

    async def _run(self, keys: list[bytes], arguments: list[int | str | bytes]) -> list[int]:
        """The script's answer, once enough replicas have what it wrote, and all that was written before."""
        if not self._min_replicas:
            answer: list[int] = await self._script(keys=keys, args=arguments)
            return answer
        async with self._redis.pipeline(transaction=False) as pipeline:  # WAIT is about its own connection
            await self._script(keys=keys, args=arguments, client=pipeline)  # type: ignore[arg-type]  # its stub lacks it
            pipeline.wait(self._min_replicas, self._confirm_ms)
            answer, confirmed = await pipeline.execute()
        if confirmed < self._min_replicas:
            raise UnavailableError(
                f"Redis at {self._address} has the events, but only {confirmed} of {self._min_replicas} replicas "
                "confirmed them; send them again with the same ids"
            )
        return answer

    async def _check_items(self, batch: EventBatch) -> None:
        unknown = await self._store.unknown_items(batch.item_ids)
        if unknown:
            named = ", ".join(map(str, unknown[:_MAX_NAMED_ITEMS]))
            more = f" and {len(unknown) - _MAX_NAMED_ITEMS} more" if len(unknown) > _MAX_NAMED_ITEMS else ""
            raise NotFoundError(
                f"items not in the catalogue: {named}{more}; no event was written; load features first, "
                "or check the ids"
            )
