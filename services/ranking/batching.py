"""Dynamic batching for one compute thread, on asyncio. Knows nothing of models, gRPC or Ray.

While a batch computes, the next requests queue; the next batch takes as many of them as fit, oldest first. The load
itself therefore sets the batch size, and a lone request waits for nobody (`wait_seconds` > 0 trades latency for
larger batches). A batch is limited by work, not only by count, because requests differ in cost by orders of magnitude.
The work of a batch is what padding makes of it: requests × longest candidate list × longest history.

Batchers may share a compute thread. One that gives way to another takes a batch only when the other has nothing to do,
so that a request of the other waits for one of its batches at most, however many it has.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from recstack.errors import DeadlineError, OverloadedError, UnavailableError

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Bounds of a batcher.

    max_requests, max_pairs: per batch, padding included; a single request above max_pairs makes a batch of its own.
    max_queued: requests that wait for a batch, beyond those that compute.
    wait_seconds: how long an incomplete batch waits for company.
    """

    max_requests: int
    max_pairs: int
    max_queued: int
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """A request's result, the time it waited and the time its batch computed (ms), and the size of the batch."""

    result: R
    queue_ms: float
    compute_ms: float
    batch_size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Entry(Generic[Q, R]):
    query: Q
    shape: tuple[int, int]
    deadline: float
    queued_at: float
    future: asyncio.Future[Answer[R]]


class Batcher(Generic[Q, R]):
    """Runs `compute(queries) -> results` in `executor`, one batch at a time.

    compute: returns one result per query, in order. If it raises, each request of the batch is computed alone, so
    that a request fails for its own fault only.
    gives_way_to: a batcher whose requests go first, all of them. While it is never idle nothing is computed here.
    Use as an async context manager, or call `start` and `stop`.
    """

    def __init__(
        self,
        compute: Callable[[list[Q]], Sequence[R]],
        limits: BatchLimits,
        executor: Executor,
        gives_way_to: "Batcher[Any, Any] | None" = None,
    ) -> None:
        self._compute = compute
        self._limits = limits
        self._executor = executor
        self._first = gives_way_to
        self._queue: deque[_Entry[Q, R]] = deque()
        self._in_flight: list[_Entry[Q, R]] = []
        self._arrival = asyncio.Event()
        self._full = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take batches."""
        self._worker = asyncio.create_task(self._work(), name="batcher")

    async def stop(self) -> None:
        """Stop; requests that still wait fail with UnavailableError."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        for entry in [*self._in_flight, *self._queue]:
            _fail(entry, UnavailableError("the server is shutting down; retry on another one"))
        self._queue.clear()
        self._idle.set()

    async def __aenter__(self) -> "Batcher[Q, R]":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def queued(self) -> int:
        """Requests that wait for a batch."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether no request waits or is computed."""
        return self._idle.is_set()

    async def until_idle(self) -> None:
        """Return some time after the batcher was idle; requests may have come since."""
        await self._idle.wait()

    async def submit(self, query: Q, shape: tuple[int, int], seconds_left: float | None = None) -> Answer[R]:
        """Queue a request and wait for its answer. Cancelling the caller takes it out of the queue.

        shape: its candidates and its history steps. seconds_left: None means no deadline.
        Raises OverloadedError at once when the queue is full, DeadlineError when its time is over before it could
        be computed, UnavailableError when the batcher stops, and whatever `compute` raises for this request.
        """
        if len(self._queue) >= self._limits.max_queued:
            raise OverloadedError(
                f"{len(self._queue)} requests are waiting and the limit is {self._limits.max_queued}; "
                "retry later, or add replicas"
            )
        now = time.monotonic()
        deadline = math.inf if seconds_left is None else now + seconds_left
        entry: _Entry[Q, R] = _Entry(query, shape, deadline, now, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        self._arrival.set()
        self._idle.clear()
        if self._limits.wait_seconds and self._is_full():
            self._full.set()
        try:
            return await entry.future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # it may be in a batch already; that answer is dropped
                self._queue.remove(entry)
            raise

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            if self._limits.wait_seconds and not self._is_full():
                await self._wait_for_company()
            while self._first is not None and not self._first.idle:
                await self._first.until_idle()
            self._in_flight = self._cut()
            if self._in_flight:
                await self._run(self._in_flight)
                self._in_flight = []
            if not self._queue:
                self._idle.set()

    def _is_full(self) -> bool:
        """Whether waiting longer cannot make the next batch larger."""
        shape = (0, 0)
        for count, entry in enumerate(self._queue, start=1):
            shape = _padded(shape, entry.shape)
            if count == self._limits.max_requests or count * shape[0] * shape[1] >= self._limits.max_pairs:
                return True
        return False

    async def _wait_for_company(self) -> None:
        self._full.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._full.wait()

    def _cut(self) -> list[_Entry[Q, R]]:
        """Take the next batch off the queue, oldest first; requests whose time is over are answered here."""
        batch: list[_Entry[Q, R]] = []
        shape = (0, 0)
        now = time.monotonic()
        while self._queue and len(batch) < self._limits.max_requests:
            entry = self._queue[0]
            if entry.deadline <= now:
                waited_ms = (now - entry.queued_at) * 1000
                _fail(entry, DeadlineError(f"no time was left after {waited_ms:.0f} ms in the queue; allow more time"))
            else:
                shape = _padded(shape, entry.shape)
                if batch and (len(batch) + 1) * shape[0] * shape[1] > self._limits.max_pairs:
                    break
                batch.append(entry)
            self._queue.popleft()
        if not self._queue:
            self._arrival.clear()
        return batch

    async def _run(self, batch: list[_Entry[Q, R]]) -> None:
        queries = [entry.query for entry in batch]
        loop = asyncio.get_running_loop()
        try:
            results, started, seconds = await loop.run_in_executor(self._executor, self._timed, queries)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                for entry in batch:
                    if not entry.future.done():
                        await self._run([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                queue_ms = (started - entry.queued_at) * 1000
                entry.future.set_result(Answer(result, queue_ms, seconds * 1000, len(batch)))

    def _timed(self, queries: list[Q]) -> tuple[Sequence[R], float, float]:
        started = time.monotonic()
        results = self._compute(queries)
        if len(results) != len(queries):
            raise RuntimeError(f"compute returned {len(results)} results for {len(queries)} queries")
        return results, started, time.monotonic() - started


def _padded(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])


def _fail(entry: _Entry[Q, R], error: Exception) -> None:
    if not entry.future.done():
        entry.future.set_exception(error)
