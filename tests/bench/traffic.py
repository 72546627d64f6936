"""Asks one question over and over: so many callers at a time, or at a set rate whatever becomes of the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Closed:
    """`callers` at a time; each asks again when it has its answer."""

    callers: int

    def __str__(self) -> str:
        return f"{self.callers} at a time"

    async def drive(self, ask: Ask, requests: int) -> None:
        """Ask `requests` times. Raises what `ask` raises."""
        left = iter(range(requests))

        async def caller() -> None:
            for _ in left:
                await ask()

        await asyncio.gather(*(caller() for _ in range(self.callers)))


@dataclass(frozen=True, slots=True)
class Open:
    """`rate` requests a second, at random moments (Poisson, always the same ones)."""

    rate: float

    def __str__(self) -> str:
        return f"{self.rate:g} a second"

    async def drive(self, ask: Ask, requests: int) -> None:
        """Ask `requests` times. Raises what `ask` raises."""
        pauses = np.random.default_rng(0).exponential(1 / self.rate, requests)
        async with asyncio.TaskGroup() as tasks:
            due = asyncio.get_running_loop().time()
            for pause in pauses:
                due += pause
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                tasks.create_task(_ignore_result(ask))


async def _ignore_result(ask: Ask) -> None:
    await ask()
