"""Open and closed loop: when the next request is sent. Knows neither requests nor protocols.

In an open loop requests come when the schedule says, as those of many independent users do, and one that has to wait
is late from the moment it was intended. In a closed loop each caller waits for its answer, so that a server that stalls
is asked less just then, and each caller sees the stall once: that is coordinated omission (Gil Tene, 2013). Rates and
percentiles that are promised to users come from the open loop; the closed loop shows what so many callers get through.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from tests.load.arrivals import pace

Send = Callable[[float], Coroutine[Any, Any, None]]
"""Sends the next request and waits for what becomes of it; its argument is the intended time."""


async def open_loop(moments: Iterable[float], start: float, send: Send) -> None:
    """Send at `start` + each moment, however many answers are outstanding; returns when all have come."""
    async with asyncio.TaskGroup() as group:
        async for intended in pace(moments, start):
            group.create_task(send(intended))


async def closed_loop(callers: int, start: float, end: float, send: Send) -> None:
    """From `start` until `end`, each of `callers` sends its next request when it has its answer."""

    async def caller() -> None:
        await asyncio.sleep(max(0.0, start - time.monotonic()))
        while (now := time.monotonic()) < end:
            await send(now)

    await asyncio.gather(*(caller() for _ in range(callers)))
