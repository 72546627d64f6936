"""When requests are due: a Poisson process, and waiting for each of its moments. Knows nothing of what is sent."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from random import Random


def poisson(rate: float, seconds: float, seed: int | str) -> Iterator[float]:
    """Moments of a Poisson process, seconds from its start, ascending.

    rate: arrivals per second. Independent processes add up to one of the summed rate, so that W workers with
    `rate / W` and seeds of their own make a Poisson process of `rate` together.
    """
    random = Random(seed)
    due = random.expovariate(rate)
    while due < seconds:
        yield due
        due += random.expovariate(rate)


async def pace(moments: Iterable[float], start: float) -> AsyncIterator[float]:
    """Each intended time, `start` + moment on the clock of `time.monotonic`, when it has come.

    It never skips and never waits for an answer. A loop that is late gets all that is overdue, one after the other, and
    the intended times tell by how much it is late. uvloop's timers have a resolution of one millisecond.
    """
    for moment in moments:
        intended = start + moment
        await asyncio.sleep(max(0.0, intended - time.monotonic()))  # 0 still lets answers be read
        yield intended
