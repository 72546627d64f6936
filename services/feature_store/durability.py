"""The durability promise: with 'fsync', no event is acknowledged unless Redis writes to disk before it answers."""

from typing import Literal

from redis import exceptions
from redis.asyncio import RedisCluster

from recstack.errors import StackError
from services.feature_store.connection import RedisClient, redis_errors

_REQUIRED = {"appendonly": "yes", "appendfsync": "always"}


class DurabilityGuard:
    """Checks Redis's own configuration, at start and again after each loss of contact: Redis may come back changed."""

    def __init__(self, redis: RedisClient, address: str, promise: Literal["memory", "fsync"]) -> None:
        self._redis = redis
        self._address = address
        self._promise = promise
        self._kept = promise == "memory"

    async def require(self) -> None:
        """Return when the promise is kept. StackError when Redis breaks it; UnavailableError when Redis is down."""
        if self._kept:
            return
        with redis_errors(self._address):
            try:
                found = {name: await self._setting(name) for name in _REQUIRED}
            except exceptions.ResponseError as error:
                raise StackError(
                    f"durability is 'fsync', but Redis at {self._address} does not tell its configuration ({error}); "
                    "allow CONFIG GET, or set feature_store.durability to 'memory'"
                ) from error
        if found != _REQUIRED:
            raise StackError(
                f"durability is 'fsync', but Redis at {self._address} runs with {found}; start it with "
                "--appendonly yes --appendfsync always, or set feature_store.durability to 'memory'"
            )
        self._kept = True

    def forget(self) -> None:
        """Contact was lost: check again before the next write."""
        self._kept = self._promise == "memory"

    async def _setting(self, name: str) -> str:
        """Value of a Redis setting; on a cluster all values that its primaries have."""
        if not isinstance(self._redis, RedisCluster):
            return str((await self._redis.config_get(name)).get(name))
        await self._redis.initialize()
        nodes = self._redis.get_primaries()
        answers = [await self._redis.config_get(name, target_nodes=node) for node in nodes]
        return " and ".join(sorted({str(answer.get(name)) for answer in answers}))
