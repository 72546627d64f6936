"""How soon an accepted event shows: from the acknowledgement of RecordEvents to a Recommend that knows of it.

A user watches the first item that was recommended. The event is visible in an answer that no longer holds the item (the
seen-filter) and scores others anew (the model read the history). One user at a time is watched, over and over with
another, while other users ask and watch at a low rate. The answer itself takes time, which counts: visible is what a
caller can see. Each line is p99 against the goal; medians, how many answers it took and RecordEvents' own time are
beside them. All on one machine, client included.
"""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from recstack import AsyncClient, Event, EventType, RecommendationList
from recstack.config import Settings
from recstack.local import LocalStack
from tests.bench.harness import Comparison, Report, main
from tests.bench.noop_server import run_on_uvloop
from tests.bench.world import make_world

GOAL_MS = 50.0
K = 20
SCORE_MOVED = 1e-5
"""More than rounding moves a probability when it is scored in other company."""
PATIENCE_SECONDS = 5.0
Engine = Literal["plain", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured. background: requests a second of other users, half of them events."""

    engines: tuple[Engine, ...]
    events: int
    warm_up: int
    background: float
    items: int
    users: int
    history: int


FULL = Effort(engines=("plain", "ray"), events=400, warm_up=20, background=10.0, items=4000, users=6000, history=200)
SHORT = Effort(engines=("plain",), events=8, warm_up=1, background=10.0, items=200, users=60, history=20)


@dataclass(frozen=True, slots=True)
class Seen:
    """One event. Milliseconds from sending it to the acknowledgement, from there to the first answer that shows it,
    and how many answers that took."""

    accepted_ms: float
    visible_ms: float
    answers: int


def run(console: Console, short: bool) -> Report:
    """Measure with every engine."""
    effort = SHORT if short else FULL
    report = Report("Freshness: event accepted → visible in Recommend")
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder:
        settings = make_world(Path(folder), items=effort.items, users=effort.users, history=effort.history)
        for engine in effort.engines:
            seen = measure(settings, engine, effort)
            visible = percentiles([one.visible_ms for one in seen])
            accepted = percentiles([one.accepted_ms for one in seen])
            total = percentiles([one.accepted_ms + one.visible_ms for one in seen])
            at_once = sum(one.answers == 1 for one in seen)
            report.comparisons.append(
                Comparison.over(f"{engine}, p99", "ms", visible["p99"], "goal", GOAL_MS, goal=1.0)
            )
            report.details[engine] = {
                "events": len(seen),
                "visible in the first answer": at_once,
                "accepted_to_visible_ms": visible,
                "record_events_ms": accepted,
                "sent_to_visible_ms": total,
            }
            console.print(
                f"{engine}: {at_once} of {len(seen)} events in the first answer; p50 {visible['p50']:.1f} ms, of "
                f"RecordEvents {accepted['p50']:.1f} (p99 {accepted['p99']:.1f}), of both {total['p50']:.1f}",
                highlight=False,
            )
    return report


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest."""
    cuts = {f"p{p}": float(np.percentile(milliseconds, p)) for p in (50, 95, 99)}
    return {name: round(value, 3) for name, value in (cuts | {"max": max(milliseconds)}).items()}


def measure(settings: Settings, engine: Engine, effort: Effort) -> list[Seen]:
    """Start a stack and watch events become visible; warm-up left out."""
    with (
        tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder,
        LocalStack(settings, ranking=engine, free_ports=True, redis_folder=Path(folder)) as stack,
    ):
        seen: list[Seen] = run_on_uvloop(_watch(stack.settings.gateway.address, effort))
    return seen[effort.warm_up :]


async def _watch(address: str, effort: Effort) -> list[Seen]:
    half = effort.users // 2  # whose requests run in the background touch nobody who is watched
    async with (
        AsyncClient(address, timeout=PATIENCE_SECONDS) as client,
        _others(client, range(half + 1, effort.users), effort.background),
    ):
        watched = itertools.cycle(range(1, half + 1))
        return [await see(client, next(watched)) for _ in range(effort.warm_up + effort.events)]


async def see(client: AsyncClient, user_id: int) -> Seen:
    """Watch the user's first recommendation and ask until an answer shows it. TimeoutError when none does."""
    before = await client.recommend(user_id, K)
    event = Event(item_id=before.items[0].item_id, type=EventType.WATCH)
    sent = time.perf_counter()
    await client.record_events(user_id, [event])
    accepted = time.perf_counter()
    answers = 0
    while True:
        answers += 1
        answer = await client.recommend(user_id, K)
        now = time.perf_counter()
        if shows(answer, before, event):
            return Seen((accepted - sent) * 1e3, (now - accepted) * 1e3, answers)
        if now - accepted > PATIENCE_SECONDS:
            raise TimeoutError(
                f"user {user_id}'s event is in none of {answers} answers in {now - accepted:.1f} s; the last one was "
                f"degraded in {answer.degraded}, and its stages took {answer.timings}"
            )


def shows(answer: RecommendationList, before: RecommendationList, event: Event) -> bool:
    """Whether the answer knows of the event: its item is gone, and what is still there is scored anew."""
    scores = {item.item_id: item.score for item in before}
    if any(item.item_id == event.item_id for item in answer):
        return False
    return any(abs(item.score - scores.get(item.item_id, item.score)) > SCORE_MOVED for item in answer)


@contextlib.asynccontextmanager
async def _others(client: AsyncClient, users: Sequence[int], rate: float) -> AsyncIterator[None]:
    """Other users' requests meanwhile, at random moments: every second one watches what was recommended."""
    rng = np.random.default_rng(0)

    async def one(number: int) -> None:
        user_id = users[number % len(users)]
        answer = await client.recommend(user_id, K)
        if number % 2:
            await client.record_events(user_id, [Event(item_id=answer.items[0].item_id, type=EventType.CLICK)])

    async def traffic() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                await asyncio.sleep(rng.exponential(1 / rate))
                tasks.create_task(one(number))

    running = asyncio.create_task(traffic())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


if __name__ == "__main__":
    main(run, "tests.bench.freshness", __doc__)
