"""One of two stacks under the same load: the rate it sustains, what it answers to many callers, what CPU it takes."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import uvloop

from tests.bench.stack_cpu import cpu_seconds
from tests.load.arrivals import poisson
from tests.load.gateway import Outcome
from tests.load.knee import Knee, Step, find_knee
from tests.load.loops import Send, closed_loop, open_loop
from tests.load.recorder import Call, Recorder, Recording
from tests.load.traffic import RECOMMEND

Loop = Callable[[float, float, Send], Awaitable[None]]
"""Sends from one moment of `time.monotonic` to another, and returns when all answers have come."""

Ask = Callable[[int], Awaitable[Outcome]]
"""Recommends for a user id. A failed call is an outcome with an error, not an exception."""

HEAD_START_S = 0.1
CALM_S = 0.1
CALM_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each rate is held: `seconds` that count, after a warm-up.

    tolerance, ceiling (requests/s): of the search, see `find_knee`. calming: seconds that a stack gets at most to work
    off what an earlier rate left behind.
    """

    seconds: float
    warm_up: float
    tolerance: float
    ceiling: float
    calming: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn found. closed: requests/s answered to callers who wait.

    cpu_ms: CPU milliseconds per request by process, at the rate `cpu_at`: the knee, or the lowest rate if none held.
    """

    knee: Knee
    closed: float
    cpu_at: float
    cpu_ms: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with every rate that was tried."""
        steps = [{"rate": step.rate, "p99_ms": step.p99_ms, "errors": step.error_share} for step in self.knee.steps]
        knee = {"rate": self.knee.rate, "limit": self.knee.limit, "steps": steps}
        return {"knee": knee, "closed": self.closed, "cpu_at": self.cpu_at, "cpu_ms": self.cpu_ms}


@dataclass(slots=True)
class LoadedSide:
    """A running stack. connect: opens connections, each time anew; processes: names of its processes by id.

    users: ids that are asked for, round and round.
    """

    name: str
    connect: Callable[[], AbstractAsyncContextManager[Ask]]
    processes: Callable[[], dict[int, str]]
    users: list[int]
    timing: Timing

    def turn(self, start: float, callers: int) -> Turn:
        """Search the knee from the rate `start`, then let `callers` ask as fast as they are answered."""
        cpu_ms: dict[float, dict[str, float]] = {}

        def step(rate: float) -> Step:
            def loop(begin: float, end: float, send: Send) -> Awaitable[None]:
                return open_loop(poisson(rate, end - begin, seed=f"{rate:g}"), begin, send)

            recording, cpu_ms[rate] = self._run(loop)
            return Step.of(rate, recording, RECOMMEND)

        knee = find_knee(step, start=start, tolerance=self.timing.tolerance, ceiling=self.timing.ceiling)
        answered, _ = self._run(lambda begin, end, send: closed_loop(callers, begin, end, send))
        closed = (answered.calls - answered.errors.total()) / answered.seconds
        cpu_at = knee.rate or min(cpu_ms)
        return Turn(knee, closed, cpu_at, cpu_ms[cpu_at])

    def _run(self, loop: Loop) -> tuple[Recording, dict[str, float]]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._drive(loop))

    async def _drive(self, loop: Loop) -> tuple[Recording, dict[str, float]]:
        """One window, and CPU milliseconds per request from its first to its last answer, warm-up included."""
        users, sent_calls, processes = itertools.cycle(self.users), itertools.count(), self.processes()
        async with self.connect() as ask:
            await _calm(ask, self.users[0], self.timing.calming)
            before = cpu_seconds(processes)
            start = time.monotonic() + HEAD_START_S
            recorder = Recorder(start + self.timing.warm_up, self.timing.seconds)

            async def send(intended: float) -> None:
                next(sent_calls)
                sent = time.monotonic()
                outcome = await ask(next(users))
                finished = time.monotonic()
                recorder.record(
                    Call(RECOMMEND, intended, sent, finished, outcome.error, outcome.degraded, outcome.stages)
                )

            await loop(start, start + self.timing.warm_up + self.timing.seconds, send)
            after, calls = cpu_seconds(processes), max(1, next(sent_calls))
        return recorder.recording, {name: (after[name] - before[name]) / calls * 1e3 for name in after}


async def _calm(ask: Ask, user_id: int, seconds: float) -> None:
    """Wait until the stack has worked off what an earlier rate left in its queues: calls given up may still run."""
    deadline, calm = time.monotonic() + seconds, 0
    while calm < CALM_ANSWERS and time.monotonic() < deadline:
        started = time.monotonic()
        outcome = await ask(user_id)
        calm = calm + 1 if not outcome.error and time.monotonic() - started < CALM_S else 0
