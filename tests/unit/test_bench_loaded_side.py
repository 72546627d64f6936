"""A stack under load, here a coroutine: the knee is found, callers are counted, CPU is told per request."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable

from tests.bench.peers.loaded_side import Ask, LoadedSide, Timing
from tests.load.gateway import Outcome

TIMING = Timing(seconds=0.5, warm_up=0.1, tolerance=1.0, ceiling=80.0, calming=0.1)


def side_of(ask: Ask, processes: Callable[[], dict[int, str]] = dict) -> LoadedSide:
    """A side that is nothing but `ask`."""

    @contextlib.asynccontextmanager
    async def connect() -> AsyncIterator[Ask]:
        yield ask

    return LoadedSide("coroutine", connect, processes, [3, 1, 2], TIMING)


def test_a_stack_that_answers_holds_every_rate_and_its_callers_ask_again():
    asked = []

    async def ask(user_id: int) -> Outcome:
        asked.append(user_id)
        await asyncio.sleep(0.001)
        return Outcome()

    turn = side_of(ask, lambda: {os.getpid(): "this"}).turn(start=40.0, callers=2)

    assert [step.rate for step in turn.knee.steps] == [40.0, 80.0]
    assert turn.knee.rate == turn.cpu_at == 80.0
    assert turn.closed > 0
    assert set(turn.cpu_ms) == {"this"}
    assert set(asked) == {1, 2, 3}


def test_a_stack_whose_answers_are_errors_holds_no_rate_and_answers_nobody():
    async def ask(user_id: int) -> Outcome:
        await asyncio.sleep(0.001)
        return Outcome(error="UNAVAILABLE")

    turn = side_of(ask).turn(start=40.0, callers=2)

    assert turn.knee.rate == 0
    assert "errors" in turn.knee.limit
    assert turn.closed == 0
    assert turn.cpu_at == min(step.rate for step in turn.knee.steps)
