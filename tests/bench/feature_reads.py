"""Feature reads: our feature store through gRPC against the Feast SDK, on the same Redis with the same values.

    .venv-peers/bin/python -m tests.bench.feature_reads [--short] [--out FILE.json]

Ours is what the gateway does: an RPC to the feature store's process, and item columns decoded into numpy arrays (a
history stays the message that models are sent). Feast's is its SDK in this process: a dict of lists, as its user gets
it. Both read the same features of the same entities from one redis-server, in turn, and the bench refuses to run when
the values differ.

Why it is fair: the SDK is the fastest way to read from Feast, as its servers put a hop in front of it, while ours is
timed with its hop. Feast has what its guide to performance asks for (`tests.bench.peers.feast_features`), genres are
one array there, which is cheaper for it than six features, and where it knows several ways to ask, the fastest one in
this run is compared; all are in the JSON.

How to read it: wall milliseconds are medians of single reads. CPU milliseconds are those of everything that takes part:
this process, our feature store's and Redis.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil
import uvloop
from feast import FeatureStore
from numpy.typing import NDArray
from rich.console import Console

from recstack.bundle import Bundle, BundleStore
from recstack.config import Settings
from recstack.features.schema import PROFILE_SIZES
from recstack.local import LocalStack
from recstack.local.services import SERVICES
from services.gateway.clients import Backends
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.hydrators.user_features import UserFeatures
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.query import Query, User
from services.gateway.pipeline.trace import Trace
from tests.bench.harness import Comparison, Report, Sample, Side, interleave, main
from tests.bench.peers.feast_features import (
    ITEM_FEATURES,
    PRECOMPUTED_ITEMS,
    load_features,
    open_features,
    read,
    read_user,
)
from tests.bench.world import make_world

ITEMS, HISTORY = 500, 200
GOAL = 10.0
OURS = "ours"
DEADLINE_S = 10.0

Read = Callable[[], object]


class OurReads:
    """The gateway's own readers, on an event loop that runs all the time, as the gateway's does."""

    def __init__(self, stack: LocalStack, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._backends = self.run(_connect(stack))
        self._users = UserFeatures(self._backends.features, HISTORY)

    async def items(self, item_ids: NDArray[np.int64]) -> ItemColumns:
        """Year, genres and title of each item."""
        deadline = Deadline.after(DEADLINE_S)
        columns, _ = await read_item_columns(self._backends.features, item_ids, "display", deadline)
        return columns

    async def user(self, user_id: int) -> User:
        """Profile, history and what was seen."""
        query = Query(user_id=user_id, k=1, request_id="", deadline=Deadline.after(DEADLINE_S))
        return (await self._users.run(query, Trace())).user

    def run(self, work: Awaitable[Any]) -> Any:
        """The result of a coroutine that runs on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def timed(self, read_once: Callable[[], Awaitable[object]], calls: int) -> float:
        """Wall seconds of one of so many reads, taken on the loop: the way there from this thread does not count."""

        async def reads() -> float:
            started = perf_counter()
            for _ in range(calls):
                await read_once()
            return (perf_counter() - started) / calls

        return self.run(reads())

    def close(self) -> None:
        """Close the channels."""
        self.run(self._backends.aclose())


@dataclass(frozen=True, slots=True)
class Question:
    """What is read. sides: OURS and the ways to ask Feast, each wall seconds of a read from a number of reads.

    calls: reads per sample of CPU time, enough that the 10 ms steps of other processes' CPU clocks do not show.
    """

    what: str
    sides: dict[str, Callable[[int], float]]
    calls: int
    goal: float | None = None


def run(console: Console, short: bool) -> Report:
    """Fill one Redis for both, check that they answer alike, measure."""
    rounds, users = (10, 50) if short else (200, 6000)
    report = Report("Feature reads on one Redis: RecStack's feature store over gRPC, and the Feast SDK")
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as name, _running_loop() as loop:
        folder = Path(name)
        settings = patient(make_world(folder, users=users, history=HISTORY))
        bundles = BundleStore.of(settings)
        bundle = bundles.open(bundles.active() or "")
        with LocalStack(settings, services=SERVICES[:1], free_ports=True, redis_folder=folder / "redis") as stack:
            console.print("loading the same features into Feast")
            feast = open_features(folder, stack.settings.redis_url)
            load_features(feast, folder, bundle.folder, precompute=True)
            processes = [psutil.Process(one.pid) for one in stack.state.processes]
            with contextlib.closing(OurReads(stack, loop)) as ours:
                for question in questions(ours, feast, bundle):
                    measure(question, rounds, processes, report)
    return report


def patient(settings: Settings) -> Settings:
    """The same settings, but a busy machine may take its time: a bench wants to know how long, not whether."""
    return settings.model_copy(
        update={"feature_store": settings.feature_store.model_copy(update={"redis_timeout_ms": 5000})}
    )


def questions(ours: OurReads, feast: FeatureStore, bundle: Bundle) -> list[Question]:
    """What is asked of both. AssertionError when they do not answer alike."""
    rng = np.random.default_rng(0)
    item_ids = rng.permutation(bundle.catalogue().ids)[:ITEMS]
    with np.load(bundle.folder / "features/users.npz", allow_pickle=False) as columns:
        user_id = int(rng.choice(columns["ids"]))
    check_items(ours.run(ours.items(item_ids)), read(feast, "item", tuple(ITEM_FEATURES), item_ids))
    check_user(ours.run(ours.user(user_id)), read_user(feast, user_id))

    ready_made, rows = feast.get_feature_service(PRECOMPUTED_ITEMS), {"item_id": item_ids.tolist()}
    items = {
        OURS: lambda calls: ours.timed(lambda: ours.items(item_ids), calls),
        "Feast": _timed(lambda: read(feast, "item", tuple(ITEM_FEATURES), item_ids)),
        "Feast, precomputed": _timed(
            lambda: feast.get_online_features(ready_made, rows, full_feature_names=True).to_dict()
        ),
    }
    user = {
        OURS: lambda calls: ours.timed(lambda: ours.user(user_id), calls),
        "Feast": _timed(lambda: read_user(feast, user_id)),
    }
    return [
        Question(f"{ITEMS} items: year, genres, title", items, 20, GOAL),
        Question(f"1 user: profile and {HISTORY} events", user, 200),
    ]


def check_items(ours: ItemColumns, feast: dict[str, list[Any]]) -> None:
    """AssertionError unless both sides read the same of each item."""
    np.testing.assert_array_equal(ours.year, feast["year"])
    np.testing.assert_array_equal(ours.genres, feast["genres"])
    np.testing.assert_array_equal(np.char.decode(ours.title, "utf-8"), feast["title"])


def check_user(ours: User, feast: dict[str, list[Any]]) -> None:
    """AssertionError unless both sides read the same profile and history."""
    profile = [getattr(ours.profile, name) for name in PROFILE_SIZES]
    np.testing.assert_array_equal(profile, [feast[name][0] for name in PROFILE_SIZES])
    np.testing.assert_array_equal(ours.history.item_ids, feast["item_ids"][0])
    np.testing.assert_array_equal(ours.history.ratings, feast["ratings"][0])


def measure(question: Question, rounds: int, processes: list[psutil.Process], report: Report) -> None:
    """Wall and CPU time of every side in turn; the fastest way to ask Feast is the one compared."""
    wall = interleave({name: _once(timed) for name, timed in question.sides.items()}, rounds)
    blocks = {name: _cpu_of(timed, question.calls, processes) for name, timed in question.sides.items()}
    cpu = interleave(blocks, max(3, rounds // question.calls), warm_up=1)
    for unit, samples, goal in (("ms wall", wall, question.goal), ("ms CPU", cpu, None)):
        best = min((name for name in samples if name != OURS), key=lambda name: samples[name].median)
        ours_ms, best_ms = samples[OURS].milliseconds, samples[best].milliseconds
        report.comparisons.append(Comparison.faster(question.what, unit, ours_ms, best, best_ms, goal))
    report.details.setdefault("milliseconds", {})[question.what] = {
        name: _percentiles(wall[name]) | {"cpu": cpu[name].milliseconds} for name in question.sides
    }


def _once(timed: Callable[[int], float]) -> Side:
    return lambda: timed(1)


def _timed(read_once: Read) -> Callable[[int], float]:
    def timed(calls: int) -> float:
        started = perf_counter()
        for _ in range(calls):
            read_once()
        return (perf_counter() - started) / calls

    return timed


def _cpu_of(timed: Callable[[int], float], calls: int, processes: list[psutil.Process]) -> Side:
    """CPU seconds of one read, over `calls` of them."""

    def used() -> float:
        return process_time() + sum(times.user + times.system for times in (one.cpu_times() for one in processes))

    def block() -> float:
        before = used()
        timed(calls)
        return (used() - before) / calls

    return block


def _percentiles(sample: Sample) -> dict[str, float]:
    return {f"wall_p{p}": float(np.percentile(sample.seconds, p)) * 1e3 for p in (50, 95, 99)}


async def _connect(stack: LocalStack) -> Backends:
    """Channels belong to the event loop that makes them."""
    return Backends.connect(stack.settings)


@contextlib.contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


if __name__ == "__main__":
    main(run, "tests.bench.feature_reads", __doc__)
