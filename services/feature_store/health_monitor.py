"""Keeps the health of the service equal to whether Redis answers."""

import asyncio
import logging
from collections.abc import Callable

from redis import RedisError

from recstack.errors import RecStackError
from recstack.rpc.server import RunningServer
from services.feature_store.connection import RedisClient, redis_errors
from services.feature_store.durability import DurabilityGuard
from services.feature_store.sentinel import MasterClient

log = logging.getLogger("recstack.feature_store")


class HealthMonitor:
    """PINGs Redis and publishes SERVING or NOT_SERVING when the answer changes.

    on_new_master: called when Sentinels have made another Redis the master.
    """

    def __init__(
        self,
        redis: RedisClient,
        address: str,
        guard: DurabilityGuard,
        running: RunningServer,
        interval_seconds: float = 1.0,
        on_new_master: Callable[[], None] = lambda: None,
    ) -> None:
        self._redis = redis
        self._address = address
        self._guard = guard
        self._running = running
        self._interval_seconds = interval_seconds
        self._on_new_master = on_new_master
        self._serving: bool | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self._interval_seconds)

    async def check(self) -> None:
        """One look at Redis."""
        if isinstance(self._redis, MasterClient) and await self._redis.follow():
            log.info("%s has another master", self._address)
            self._guard.forget()  # it has a configuration of its own
            self._on_new_master()
        try:
            with redis_errors(self._address):
                await self._redis.ping()
            await self._guard.require()
        except (RecStackError, RedisError) as error:
            self._guard.forget()
            await self._publish(False, str(error))
        else:
            await self._publish(True, f"Redis at {self._address} answers")

    async def _publish(self, serving: bool, reason: str) -> None:
        if serving == self._serving:
            return
        self._serving = serving
        log.log(logging.INFO if serving else logging.WARNING, "serving: %s (%s)", serving, reason)
        await self._running.set_serving(serving)
