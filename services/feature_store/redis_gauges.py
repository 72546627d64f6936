"""What Redis says of its memory and of its disk, as metrics: it stops taking events when either gives out."""

import asyncio
import logging
from typing import Any

from redis import RedisError
from redis.asyncio import RedisCluster

from recstack.errors import RecStackError
from recstack.metrics import REDIS_MEMORY_BYTES, REDIS_MEMORY_SHARE, REDIS_NOT_SAVING
from services.feature_store.connection import RedisClient, redis_errors

log = logging.getLogger("recstack.feature_store")

_SAVES = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


class RedisGauges:
    """Asks Redis, or each primary of a cluster, every `interval_seconds`.

    While nobody answers, values stay as they are: that Redis is gone shows in failed calls.
    """

    def __init__(self, redis: RedisClient, address: str, interval_seconds: float = 2.0) -> None:
        self._redis = redis
        self._address = address
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            try:
                await self.record()
            except (RecStackError, RedisError) as error:
                log.debug("Redis tells nothing of itself: %s", error)
            await asyncio.sleep(self._interval_seconds)

    async def record(self) -> None:
        """One look. Raises UnavailableError when Redis does not answer."""
        with redis_errors(self._address):
            nodes = await self._infos()
        REDIS_MEMORY_BYTES.set(sum(node["used_memory"] for node in nodes))
        REDIS_MEMORY_SHARE.set(max(_share(node) for node in nodes))
        REDIS_NOT_SAVING.set(any(node.get(save, "ok") != "ok" for node in nodes for save in _SAVES))

    async def _infos(self) -> list[dict[str, Any]]:
        """INFO of every server that holds data."""
        if not isinstance(self._redis, RedisCluster):
            return [await self._redis.info()]
        await self._redis.initialize()
        return [await self._redis.info(target_nodes=node) for node in self._redis.get_primaries()]


def _share(node: dict[str, Any]) -> float:
    """Memory in use over the limit; 0 where there is none."""
    limit = int(node.get("maxmemory", 0))
    return int(node["used_memory"]) / limit if limit else 0.0
