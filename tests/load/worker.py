"""One worker process: an event loop that sends its part of the traffic and hands back a recording."""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import uvloop

from recstack.rpc.credentials import Tls
from tests.load.arrivals import poisson
from tests.load.gateway import Gateway, Outcome
from tests.load.loops import closed_loop, open_loop
from tests.load.recorder import Call, Recorder, Recording
from tests.load.traffic import (
    EVENTS,
    EXPLAIN,
    RECOMMEND,
    SIMILAR,
    Action,
    Recommend,
    RecordEvents,
    SimilarItems,
    Traffic,
    TrafficOptions,
)

_RPCS: dict[type[Action], str] = {Recommend: RECOMMEND, RecordEvents: EVENTS, SimilarItems: SIMILAR}


@dataclass(frozen=True, slots=True)
class Open:
    """Poisson arrivals at `rate` requests/s."""

    rate: float


@dataclass(frozen=True, slots=True)
class Closed:
    """`callers` at a time."""

    callers: int


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement. start: on `time.monotonic`, the same for all workers. warm_up comes before `seconds`."""

    load: Open | Closed
    start: float
    warm_up: float
    seconds: float
    number: int

    @property
    def measured_from(self) -> float:
        """When warm-up is over."""
        return self.start + self.warm_up


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker is told once. name: tells its traffic from that of others."""

    name: str
    address: str
    connections: int
    timeout: float
    traffic: TrafficOptions
    tls: Tls | None = None


def work(pipe: Connection, options: WorkerOptions) -> None:
    """Body of the process: a window comes in, its recording goes out, until the other end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it closes the pipe
    parent_has_gone = contextlib.suppress(EOFError, BrokenPipeError)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, parent_has_gone:
        runner.run(_serve(pipe, options))


async def _serve(pipe: Connection, options: WorkerOptions) -> None:
    gateway = Gateway(
        options.address,
        connections=options.connections,
        k=options.traffic.k,
        timeout=options.timeout,
        tls=options.tls,
    )
    async with gateway:
        await gateway.connect()
        driver = Driver(gateway, Traffic(options.traffic, options.name), options.name)
        pipe.send("ready")
        while True:
            pipe.send(await driver.drive(await asyncio.to_thread(pipe.recv)))


class Driver:
    """Sends traffic through a gateway, window after window; sessions go on from one to the next."""

    def __init__(self, gateway: Gateway, traffic: Traffic, name: str) -> None:
        self._gateway, self._traffic, self._name = gateway, traffic, name

    async def drive(self, window: Window) -> Recording:
        """What happened in a window, from its start until the last answer has come."""
        recorder = Recorder(window.measured_from, window.seconds)
        self._traffic.counts.clear()
        started = time.process_time()

        async def send(intended: float) -> None:
            action, sent = self._traffic.next(), time.monotonic()
            outcome = await self._gateway.send(action)
            recorder.record(_call(action, outcome, intended, sent))
            self._learn(action, outcome)

        length = window.warm_up + window.seconds
        if isinstance(window.load, Open):
            moments = poisson(window.load.rate, length, f"{self._name}/{window.number}")
            await open_loop(moments, window.start, send)
        else:
            await closed_loop(window.load.callers, window.start, window.start + length, send)
        recorder.recording.cpu_seconds = time.process_time() - started
        recorder.recording.counts.update(self._traffic.counts)
        return recorder.recording

    def _learn(self, action: Action, outcome: Outcome) -> None:
        if outcome.error:
            return
        if isinstance(action, Recommend):
            self._traffic.shown(action.session, outcome.page, degraded=bool(outcome.degraded))
            self._traffic.counts["cold starts"] += outcome.cold_start
        elif isinstance(action, RecordEvents):
            self._traffic.acknowledged(action)
            self._traffic.counts["events"] += len(action.events)
            self._traffic.counts["events known before"] += outcome.repeated_events


def _call(action: Action, outcome: Outcome, intended: float, sent: float) -> Call:
    return Call(
        rpc=_RPCS.get(type(action), EXPLAIN),
        intended=intended,
        sent=sent,
        finished=time.monotonic(),
        error=outcome.error,
        degraded=outcome.degraded,
        stages=outcome.stages,
    )
