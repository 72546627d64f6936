"""The batcher: which requests are computed together, and that each one is answered exactly once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstack.errors import DeadlineError, InvalidRequestError, OverloadedError, UnavailableError
from services.ranking.batching import Batcher, BatchLimits

ONE = (1, 1)


class Compute:
    """Doubles its queries, remembers the batches it got, and can be held back. Query "bad" fails its batch."""

    def __init__(self) -> None:
        self.batches: list[list[int | str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, queries: list[int | str]) -> list[int | str]:
        self.batches.append(list(queries))
        self.entered.set()
        self.gate.wait()
        if "bad" in queries:
            raise InvalidRequestError("bad")
        return [query * 2 for query in queries]


@asynccontextmanager
async def batcher(
    compute: Compute, *, max_requests: int = 16, max_pairs: int = 1000, max_queued: int = 100, wait_seconds: float = 0
) -> AsyncIterator[Batcher[int | str, int | str]]:
    limits = BatchLimits(
        max_requests=max_requests, max_pairs=max_pairs, max_queued=max_queued, wait_seconds=wait_seconds
    )
    with ThreadPoolExecutor(1) as executor:
        try:
            async with Batcher(compute, limits, executor) as running:
                yield running
        finally:
            compute.gate.set()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the conditions are counts, not events
        await asyncio.sleep(0)


async def hold_one(compute: Compute, running: Batcher[int | str, int | str]) -> asyncio.Task[object]:
    """Start a request that computes until the gate opens, so that what follows queues."""
    compute.gate.clear()
    task = asyncio.create_task(running.submit(0, ONE))
    await until(compute.entered.is_set)
    return task


async def test_a_lone_request_is_a_batch_of_one() -> None:
    async with batcher(Compute()) as running:
        answer = await running.submit(21, ONE)
    assert (answer.result, answer.batch_size) == (42, 1)
    assert answer.queue_ms >= 0
    assert answer.compute_ms >= 0


async def test_what_queued_while_a_batch_computed_is_the_next_batch_in_order() -> None:
    compute = Compute()
    async with batcher(compute, max_requests=3) as running:
        first = await hold_one(compute, running)
        rest = [asyncio.create_task(running.submit(i, ONE)) for i in range(1, 6)]
        await until(lambda: running.queued == 5)
        compute.gate.set()
        answers = await asyncio.gather(first, *rest)
    assert compute.batches == [[0], [1, 2, 3], [4, 5]]
    assert [answer.result for answer in answers] == [0, 2, 4, 6, 8, 10]
    assert [answer.batch_size for answer in answers] == [1, 3, 3, 3, 2, 2]


async def test_a_batch_is_cut_by_padded_work() -> None:
    compute = Compute()
    shapes = {1: (10, 5), 2: (10, 5), 3: (2, 25), 4: (100, 50), 5: (1, 1)}
    async with batcher(compute, max_pairs=100) as running:
        first = await hold_one(compute, running)
        rest = [asyncio.create_task(running.submit(i, shape)) for i, shape in shapes.items()]
        await until(lambda: running.queued == len(shapes))
        compute.gate.set()
        await asyncio.gather(first, *rest)
    # 3 alone is as much work as 1 or 2, but padding all three to 10 × 25 would not be; 4 is above the limit by itself.
    assert compute.batches == [[0], [1, 2], [3], [4], [5]]


async def test_a_full_queue_refuses_at_once_and_answers_those_in_it() -> None:
    compute = Compute()
    async with batcher(compute, max_queued=2) as running:
        first = await hold_one(compute, running)
        waiting = [asyncio.create_task(running.submit(i, ONE)) for i in (1, 2)]
        await until(lambda: running.queued == 2)
        with pytest.raises(OverloadedError, match="2 requests are waiting and the limit is 2"):
            await running.submit(3, ONE)
        compute.gate.set()
        assert [answer.result for answer in await asyncio.gather(first, *waiting)] == [0, 2, 4]


async def test_one_that_gives_way_has_its_turn_when_the_other_is_idle() -> None:
    compute, limits = Compute(), BatchLimits(max_requests=1, max_pairs=1000, max_queued=100)
    with ThreadPoolExecutor(1) as executor:
        async with Batcher(compute, limits, executor) as first, Batcher(compute, limits, executor, first) as second:
            held = await hold_one(compute, second)
            waiting = [
                asyncio.create_task(batcher.submit(query, ONE))
                for batcher, query in ((second, 3), (second, 4), (first, 1), (first, 2))
            ]
            await until(lambda: first.queued == 1)  # the other one is in line for the thread
            compute.gate.set()
            await asyncio.gather(held, *waiting)
            await first.until_idle()
    assert compute.batches == [[0], [1], [2], [3], [4]]


async def test_a_request_that_left_does_not_keep_the_other_waiting() -> None:
    compute, limits = Compute(), BatchLimits(max_requests=1, max_pairs=1000, max_queued=100)
    with ThreadPoolExecutor(1) as executor:
        async with Batcher(compute, limits, executor) as first, Batcher(compute, limits, executor, first) as second:
            held = await hold_one(compute, first)
            gone = asyncio.create_task(first.submit(1, ONE))
            await until(lambda: first.queued == 1)
            gone.cancel()
            compute.gate.set()
            await held
            async with asyncio.timeout(30):
                assert (await second.submit(2, ONE)).result == 4
    assert compute.batches == [[0], [2]]


async def test_an_expired_request_is_dropped_before_it_is_computed() -> None:
    compute = Compute()
    async with batcher(compute) as running:
        first = await hold_one(compute, running)
        late = asyncio.create_task(running.submit(1, ONE, seconds_left=0.0))
        in_time = asyncio.create_task(running.submit(2, ONE, seconds_left=1000.0))
        await until(lambda: running.queued == 2)
        compute.gate.set()
        with pytest.raises(DeadlineError, match="ms in the queue"):
            await late
        assert (await in_time).result == 4
        await first
    assert compute.batches == [[0], [2]]


async def test_a_cancelled_request_leaves_the_queue() -> None:
    compute = Compute()
    async with batcher(compute, max_queued=1) as running:
        first = await hold_one(compute, running)
        gone = asyncio.create_task(running.submit(1, ONE))
        await until(lambda: running.queued == 1)
        gone.cancel()
        await until(gone.done)
        assert running.queued == 0
        other = asyncio.create_task(running.submit(2, ONE))
        await until(lambda: running.queued == 1)
        compute.gate.set()
        assert (await other).result == 4
        await first
    assert compute.batches == [[0], [2]]


async def test_a_request_cancelled_while_it_computes_harms_nobody() -> None:
    compute = Compute()
    async with batcher(compute) as running:
        first = await hold_one(compute, running)
        first.cancel()
        await until(first.done)
        second = asyncio.create_task(running.submit(1, ONE))
        await until(lambda: running.queued == 1)
        compute.gate.set()
        assert (await second).result == 2


async def test_a_failing_request_fails_alone() -> None:
    compute = Compute()
    async with batcher(compute) as running:
        first = await hold_one(compute, running)
        good, bad, fine = (asyncio.create_task(running.submit(query, ONE)) for query in (1, "bad", 2))
        await until(lambda: running.queued == 3)
        compute.gate.set()
        with pytest.raises(InvalidRequestError, match="bad"):
            await bad
        assert [(await task).result for task in (first, good, fine)] == [0, 2, 4]


async def test_a_wrong_number_of_results_is_an_error() -> None:
    limits = BatchLimits(max_requests=4, max_pairs=4, max_queued=4)
    with ThreadPoolExecutor(1) as executor:
        async with Batcher[int, int](lambda queries: [], limits, executor) as running:
            with pytest.raises(RuntimeError, match="0 results for 1 queries"):
                await running.submit(1, ONE)


async def test_stop_answers_those_that_wait_and_those_that_compute() -> None:
    compute = Compute()
    async with batcher(compute) as running:
        tasks = [await hold_one(compute, running), asyncio.create_task(running.submit(1, ONE))]
        await until(lambda: running.queued == 1)
        await running.stop()
        compute.gate.set()
        for task in tasks:
            with pytest.raises(UnavailableError, match="shutting down"):
                await task


async def test_a_batch_waits_for_company_until_it_is_full() -> None:
    compute = Compute()
    async with batcher(compute, max_requests=2, wait_seconds=1000) as running:
        answers = await asyncio.gather(running.submit(1, ONE), running.submit(2, ONE))
    assert compute.batches == [[1, 2]]
    assert [answer.batch_size for answer in answers] == [2, 2]


async def test_company_that_comes_later_ends_the_wait() -> None:
    compute = Compute()
    async with batcher(compute, max_requests=2, wait_seconds=1000) as running:
        first = asyncio.create_task(running.submit(1, ONE))
        for _ in range(10):
            await asyncio.sleep(0)  # the batcher has seen the first and waits
        assert (await running.submit(2, ONE)).result == 4
        assert (await first).batch_size == 2


async def test_waiting_for_company_ends() -> None:
    async with batcher(Compute(), wait_seconds=0.001) as running:
        assert (await running.submit(1, ONE)).result == 2


@dataclass(frozen=True)
class Planned:
    """A request and what is done to it."""

    query: int
    shape: tuple[int, int]
    fate: str


FATES = st.sampled_from(["answer", "answer", "answer", "fail", "expire", "cancel"])
PLANS = st.lists(st.tuples(st.tuples(st.integers(1, 20), st.integers(1, 20)), FATES), max_size=40)


@settings(max_examples=150, deadline=None)
@given(plans=PLANS, max_requests=st.integers(1, 8), max_pairs=st.integers(1, 800), max_queued=st.integers(1, 30))
def test_every_request_is_answered_exactly_once(
    plans: list[tuple[tuple[int, int], str]], max_requests: int, max_pairs: int, max_queued: int
) -> None:
    planned = [Planned(i, shape, fate) for i, (shape, fate) in enumerate(plans, start=1)]
    asyncio.run(conserve(planned, max_requests, max_pairs, max_queued))


async def conserve(planned: list[Planned], max_requests: int, max_pairs: int, max_queued: int) -> None:
    fates = {plan.query: plan.fate for plan in planned}
    shapes = {plan.query: plan.shape for plan in planned}
    gate = threading.Event()
    batches: list[list[int]] = []
    computed: list[int] = []

    def compute(queries: list[int]) -> list[int]:
        gate.wait()
        batches.append(queries)
        if any(fates[query] == "fail" for query in queries):
            raise InvalidRequestError("failed as planned")
        computed.extend(queries)
        return [-query for query in queries]

    limits = BatchLimits(max_requests=max_requests, max_pairs=max_pairs, max_queued=max_queued)
    with ThreadPoolExecutor(1) as executor:
        async with Batcher(compute, limits, executor) as running:
            tasks = {
                plan.query: asyncio.create_task(
                    running.submit(plan.query, plan.shape, 0.0 if plan.fate == "expire" else None)
                )
                for plan in planned
            }
            await asyncio.sleep(0)  # every task has queued or was refused
            for query, task in tasks.items():
                if fates[query] == "cancel":
                    task.cancel()
            gate.set()
            outcomes = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
            assert running.queued == 0

    kinds = {"fail": InvalidRequestError, "expire": DeadlineError, "cancel": asyncio.CancelledError}
    for query, outcome in outcomes.items():
        if isinstance(outcome, OverloadedError):
            continue
        if fates[query] == "answer":
            assert not isinstance(outcome, BaseException)
            assert outcome.result == -query
            assert computed.count(query) == 1
        else:
            assert isinstance(outcome, kinds[fates[query]])
    refused = sum(isinstance(outcome, OverloadedError) for outcome in outcomes.values())
    assert refused == max(0, len(planned) - max_queued)
    for batch in batches:
        assert len(batch) <= max_requests
        longest = [max(shapes[query][axis] for query in batch) for axis in (0, 1)]
        assert len(batch) == 1 or len(batch) * longest[0] * longest[1] <= max_pairs
    assert computed == sorted(computed)
