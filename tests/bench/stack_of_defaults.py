"""RecStack against the stack that a competent team puts together from defaults: the same answers, the same load.

    .venv-peers/bin/python -m tests.bench.stack_of_defaults [--short] [--out FILE.json]

The stack of defaults (`tests.bench.peers`) is FastAPI on uvicorn with uvloop and httptools, the Feast SDK on the Redis
that RecStack uses, faiss, and eager torch: each part is the usual choice, used as its documentation says. It runs in
one process or in two, and what does better here is compared. RecStack runs as its four services with plain gRPC
ranking; RECSTACK_RANKING__ENGINE=ray has Ray Serve instead.

Why it is fair: both serve one bundle. They find the same 500 candidates, score them with the same DIEN weights against
the same last 50 events and show 20 with titles, and the bench refuses to run when their answers differ. RecStack asks
its two-tower channel alone here and does not spread genres, as the other side has nothing of the kind. Neither records
events. One load generator sends Poisson arrivals, on the same cores as whichever stack is under load, and latency is
counted from the intended send. The stacks take turns.

How to read it: the knee is the highest rate at which p99 is at most 100 ms, errors at most 0.1 % and degraded answers
at most 1 %. CPU per request explains it: two cores have 2,000 ms a second for the stack, Redis and the load generator.
A run takes about ten minutes.
"""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import aiohttp
import numpy as np
from rich.console import Console

from recstack.bundle import Bundle, BundleStore
from recstack.config import Settings
from recstack.local import LocalStack
from tests.bench.harness import Comparison, Report, main
from tests.bench.peers.answers import check_same_answers
from tests.bench.peers.default_gateway import Options
from tests.bench.peers.default_stack import DefaultClient, DefaultStack, default_stack
from tests.bench.peers.feast_features import load_features, open_features
from tests.bench.peers.loaded_side import Ask, LoadedSide, Timing, Turn
from tests.bench.stack_cpu import stack_processes
from tests.bench.world import CANDIDATES, make_world
from tests.load.gateway import Gateway, Outcome
from tests.load.recorder import OUT_OF_TIME
from tests.load.traffic import Recommend, Session

K, STORED_EVENTS, READ_EVENTS = 20, 200, 50
GOAL = 6.0
CALLERS = 8
CHECKED_USERS = 20
CONNECTIONS = 8
TIMEOUT_S = 2.0
OURS, OTHER = "RecStack", "defaults"
LAYOUTS = {"1 process": (1, 2), "2 processes": (2, 1)}
"""Worker processes of the other side, and torch threads of each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. layouts: some of LAYOUTS. starts: first rate of a search by side, requests/s."""

    timing: Timing
    turns: int
    users: int
    layouts: tuple[str, ...]
    starts: dict[str, float]


FULL = Plan(
    Timing(seconds=12.0, warm_up=2.0, tolerance=0.1, ceiling=2000.0, calming=30.0),
    turns=2,
    users=6000,
    layouts=tuple(LAYOUTS),
    starts={OURS: 50.0, OTHER: 4.0},
)
SHORT = Plan(
    Timing(seconds=1.0, warm_up=0.3, tolerance=1.0, ceiling=4.0, calming=1.0),
    turns=1,
    users=60,
    layouts=("2 processes",),
    starts={OURS: 4.0, OTHER: 4.0},
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where both sides find their data, once RecStack runs."""

    stack: LocalStack
    bundle: Bundle
    features: Path
    users: list[int]
    plan: Plan
    console: Console

    def ours(self) -> LoadedSide:
        """RecStack under load."""

        @contextlib.asynccontextmanager
        async def connect() -> AsyncIterator[Ask]:
            address = self.stack.settings.gateway.address
            async with Gateway(address, connections=CONNECTIONS, k=K, timeout=TIMEOUT_S) as gateway:
                await gateway.connect()
                yield lambda user_id: gateway.send(Recommend(Session(user_id, pages_left=0)))

        return LoadedSide(OURS, connect, lambda: stack_processes(self.stack), self.users, self.plan.timing)

    @contextlib.contextmanager
    def other(self, layout: str) -> Iterator[LoadedSide]:
        """The stack of defaults in one of LAYOUTS, started, and under load."""
        workers, threads = LAYOUTS[layout]
        options = Options(
            features=self.features,
            bundle=self.bundle.folder,
            redis_url=self.stack.settings.redis_url,
            candidates=CANDIDATES,
            history_length=READ_EVENTS,
            threads=threads,
        )
        with default_stack(options, workers, self.features / "uvicorn.log") as running:
            check_same_answers(self.stack, running, self.users[:CHECKED_USERS], K)
            name = f"{OTHER}, {layout}"
            yield LoadedSide(
                name, lambda: _connect_other(running), lambda: self._and_redis(running), self.users, self.plan.timing
            )

    def _and_redis(self, running: DefaultStack) -> dict[int, str]:
        ours = stack_processes(self.stack)
        return running.processes() | {pid: name for pid, name in ours.items() if name == "redis"}


def run(console: Console, short: bool) -> Report:
    """Start RecStack, give Feast the same features, and let the sides take turns."""
    plan = SHORT if short else FULL
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as name:
        folder = Path(name)
        settings = bench_settings(make_world(folder, users=plan.users, history=STORED_EVENTS))
        with LocalStack(settings, free_ports=True, redis_folder=folder / "redis") as stack:
            bundles = BundleStore.of(settings)
            bundle = bundles.open(bundles.active() or "")
            console.print("loading the same features into Feast")
            load_features(open_features(folder, stack.settings.redis_url), folder, bundle.folder)
            users = np.random.default_rng(0).permutation(plan.users) + 1
            place = Place(stack, bundle, folder, users.tolist(), plan, console)
            return report_of(take_turns(place), settings.ranking.engine)


def bench_settings(settings: Settings) -> Settings:
    """RecStack with the candidates, history and answer of the other side."""
    engine = os.environ.get("RECSTACK_RANKING__ENGINE", "plain")
    one_channel = {"two_tower_k": CANDIDATES, "item_to_item_k": 0, "popular_k": 0, "fresh_k": 0, "cold_start_k": 0}
    answer = {"history_length": READ_EVENTS, "diversity": 0.0}
    return settings.model_copy(
        update={
            "ranking": settings.ranking.model_copy(update={"engine": engine}),
            "gateway": settings.gateway.model_copy(update=one_channel | answer),
        }
    )


def take_turns(place: Place) -> dict[str, list[Turn]]:
    """Turns by name of side: every layout of the other side in the first round, its best one in later rounds."""
    turns: dict[str, list[Turn]] = {}
    layouts = place.plan.layouts
    for _ in range(place.plan.turns):
        for layout in layouts:
            with place.other(layout) as side:
                _take_turn(side, place.plan.starts[OTHER], place.console, turns)
        _take_turn(place.ours(), place.plan.starts[OURS], place.console, turns)
        best = best_layout(turns)
        layouts = tuple(layout for layout in layouts if best.endswith(layout))
    return turns


def best_layout(turns: dict[str, list[Turn]]) -> str:
    """Name of the other side that sustains the higher rate; where knees are equal, the one that answers more."""
    others = (name for name in turns if name != OURS)
    return max(others, key=lambda name: (_mean_rate(turns[name]), mean(turn.closed for turn in turns[name])))


def report_of(turns: dict[str, list[Turn]], engine: str) -> Report:
    """Means over turns of our side and of the better of the others."""
    best = best_layout(turns)
    ours, other = turns[OURS], turns[best]
    held = best if any(turn.knee.rate for turn in other) else f"{best}: not even"
    report = Report(f"RecStack ({engine} ranking) and the stack of defaults: FastAPI, Feast, faiss, eager torch")
    report.comparisons = [
        Comparison.more("highest rate with p99 ≤ 100 ms", "req/s", _mean_rate(ours), held, _mean_rate(other), GOAL),
        Comparison.more(
            f"answered to {CALLERS} callers at a time",
            "req/s",
            mean(turn.closed for turn in ours),
            best,
            mean(turn.closed for turn in other),
        ),
        Comparison.faster("CPU per request at the knee", "ms", _mean_cpu(ours), best, _mean_cpu(other)),
    ]
    report.details["turns"] = {name: [turn.as_dict() for turn in taken] for name, taken in turns.items()}
    return report


def _take_turn(side: LoadedSide, start: float, console: Console, turns: dict[str, list[Turn]]) -> None:
    turn = side.turn(start, CALLERS)
    turns.setdefault(side.name, []).append(turn)
    by_process = ", ".join(f"{name} {cpu_ms:.1f}" for name, cpu_ms in turn.cpu_ms.items())
    console.print(
        f"{side.name}: knee {turn.knee.rate:.4g} requests/s ({turn.knee.limit}), {turn.closed:.4g} with {CALLERS} "
        f"callers; CPU ms per request at {turn.cpu_at:.4g} requests/s: {by_process}",
        highlight=False,
    )


def _mean_rate(turns: list[Turn]) -> float:
    """A side of which no rate held counts with the lowest that was tried: to its favour, and a ratio stays finite."""
    return mean(turn.knee.rate or min(step.rate for step in turn.knee.steps) for turn in turns)


def _mean_cpu(turns: list[Turn]) -> float:
    return mean(sum(turn.cpu_ms.values()) for turn in turns)


@contextlib.asynccontextmanager
async def _connect_other(running: DefaultStack) -> AsyncIterator[Ask]:
    async with DefaultClient(running.url, TIMEOUT_S) as client:

        async def ask(user_id: int) -> Outcome:
            try:
                items: list[dict[str, Any]] = await client.recommend(user_id, K)
            except (aiohttp.ClientError, TimeoutError) as error:
                # A call that ran out of time counts into the latency, under the name that the recorder has for it.
                return Outcome(error=OUT_OF_TIME if isinstance(error, TimeoutError) else type(error).__name__)
            return Outcome(item_ids=tuple(item["item_id"] for item in items))

        yield ask


if __name__ == "__main__":
    main(run, "tests.bench.stack_of_defaults", __doc__)
