"""Open and closed loop against a server that stalls, in simulated time: what coordinated omission hides."""

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.load import arrivals, loops
from tests.load.arrivals import poisson
from tests.load.loops import Send, closed_loop, open_loop
from tests.load.recorder import Call, Histogram, Recorder

SERVICE_SECONDS = 0.001
STALL_FROM, STALL_UNTIL = 4.0, 5.0
SECONDS = 10.0
RATE = 100.0


class SimulatedClock:
    """An event loop whose time passes only where it would wait, and then at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.loop = asyncio.SelectorEventLoop(self._selector())
        self.loop.time = lambda: self.now  # type: ignore[method-assign]
        self.loop._clock_resolution = 1e-9  # type: ignore[attr-defined]

    def _selector(self) -> selectors.BaseSelector:
        selector = selectors.SelectSelector()
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            self.now += max(0.0, timeout or 0.0)
            return select(0)

        selector.select = jump  # type: ignore[method-assign]
        return selector


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedClock]:
    clock = SimulatedClock()
    for module in (arrivals, loops):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    yield clock
    clock.loop.close()


def latencies(clock: SimulatedClock, drive: Callable[[Send], Awaitable[None]]) -> Histogram:
    """Of a server that answers within a millisecond, except that it stands still for one second."""
    recorder = Recorder(0.0, SECONDS)

    async def send(intended: float) -> None:
        sent = clock.now
        free = STALL_UNTIL if STALL_FROM <= sent < STALL_UNTIL else sent
        await asyncio.sleep(free + SERVICE_SECONDS - sent)
        recorder.record(Call("Recommend", intended, sent, clock.now))

    started = time.monotonic()
    clock.loop.run_until_complete(drive(send))
    assert time.monotonic() - started < 60, "time was not simulated"
    return recorder.recording.rpcs["Recommend"].latency


def test_the_open_loop_sees_a_stall_and_the_closed_loop_hides_it(clock: SimulatedClock) -> None:
    opened = latencies(clock, lambda send: open_loop(poisson(RATE, SECONDS, seed=5), 0.0, send))
    clock.now = 0.0
    closed = latencies(clock, lambda send: closed_loop(1, 0.0, SECONDS, send))

    assert opened.percentile(50) == pytest.approx(1.0, abs=0.2)
    assert opened.percentile(99) > 800, (
        "a tenth of all requests came during the stall, and waited half of it on average"
    )
    assert opened.percentile(92) > 100
    assert closed.percentile(99.9) < 2, "the only caller met the stall once"
    assert closed.max > 900


def test_the_open_loop_does_not_wait_for_answers(clock: SimulatedClock) -> None:
    sent: list[float] = []

    async def send(intended: float) -> None:
        sent.append(clock.now)
        await asyncio.sleep(100.0)

    moments = [0.5, 1.0, 1.5]
    clock.loop.run_until_complete(open_loop(moments, 0.0, send))
    assert sent == pytest.approx(moments)
    assert clock.now == pytest.approx(101.5), "but it waits for the last of them before it ends"


def test_the_closed_loop_has_as_many_outstanding_as_callers(clock: SimulatedClock) -> None:
    outstanding, most = 0, 0

    async def send(intended: float) -> None:
        nonlocal outstanding, most
        assert intended == clock.now
        outstanding += 1
        most = max(most, outstanding)
        await asyncio.sleep(0.1)
        outstanding -= 1

    clock.loop.run_until_complete(closed_loop(7, 0.0, 2.0, send))
    assert most == 7


def test_a_failure_of_the_harness_itself_is_not_swallowed(clock: SimulatedClock) -> None:
    async def send(intended: float) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup):
        clock.loop.run_until_complete(open_loop([0.1, 0.2], 0.0, send))
