"""The worker processes: started once, given the same window each time, their recordings merged."""

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from recstack.rpc.credentials import Tls
from tests.load.recorder import Recording, merged
from tests.load.traffic import TrafficOptions
from tests.load.worker import Closed, Open, Window, WorkerOptions, work

_HEAD_START = 0.2
"""Seconds between telling the workers of a window and its start."""
_START_SECONDS = 60.0


class LoadError(Exception):
    """The load cannot be made: the target does not answer, or a worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewOptions:
    """address: host:port of a gateway. connections: of each worker. timeout: deadline of each call, seconds."""

    address: str
    traffic: TrafficOptions
    workers: int = 2
    connections: int = 4
    timeout: float = 1.0
    tls: Tls | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "connections", "timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")


class Crew:
    """Worker processes with sessions and connections that last from window to window; a context manager."""

    def __init__(self, options: CrewOptions) -> None:
        self._options = options
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._number = 0

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        try:
            for number in range(self._options.workers):
                self._start_worker(context, number)
            self._receive(_START_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, load: Open | Closed, *, warm_up: float, seconds: float) -> Recording:
        """Send `load` together and record `seconds` of it after `warm_up`. Raises LoadError when a worker dies."""
        self._number += 1
        start = time.monotonic() + _HEAD_START
        for number, (pipe, process) in enumerate(zip(self._pipes, self._processes, strict=True)):
            try:
                pipe.send(Window(self._share(load, number), start, warm_up, seconds, self._number))
            except BrokenPipeError as error:
                raise self._death(process) from error
        patience = _HEAD_START + warm_up + seconds + self._options.timeout + _START_SECONDS
        return merged(self._receive(patience))

    def _share(self, load: Open | Closed, number: int) -> Open | Closed:
        workers = self._options.workers
        if isinstance(load, Open):
            return Open(load.rate / workers)
        return Closed(load.callers // workers + (number < load.callers % workers))

    def _start_worker(self, context: Any, number: int) -> None:
        ours, theirs = context.Pipe()
        options = WorkerOptions(
            name=f"w{number}",
            address=self._options.address,
            connections=self._options.connections,
            timeout=self._options.timeout,
            traffic=self._options.traffic,
            tls=self._options.tls,
        )
        process = context.Process(target=work, args=(theirs, options), name=f"load-{number}", daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        self._pipes.append(ours)

    def _receive(self, patience: float) -> list[Any]:
        """One message from each worker, in their order."""
        until = time.monotonic() + patience
        waiting = dict(zip(self._pipes, self._processes, strict=True))
        received: dict[Connection, Any] = {}
        while waiting:
            ready = wait(list(waiting), max(0.0, until - time.monotonic()))
            if not ready:
                raise LoadError(f"{len(waiting)} load workers said nothing for {patience:.0f} s")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                process = waiting.pop(pipe)
                try:
                    received[pipe] = pipe.recv()
                except (EOFError, ConnectionError) as error:
                    raise self._death(process) from error
        return [received[pipe] for pipe in self._pipes]

    def _death(self, process: BaseProcess) -> LoadError:
        return LoadError(f"{process.name} died; see what it printed above, and whether {self._options.address} answers")

    def _stop(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=self._options.timeout + 2.0)
            if process.is_alive():
                process.kill()
                process.join()
