"""What Explain costs Recommend in the ranking service: how long a Rank takes beside attributions, and alone.

One service, plain, in a process of its own, with the blend of five. Ranks of 500 candidates and 200 events arrive at
random moments; in every other phase attributions of 20 items by 200 events do so too, which take some 40 times the
work of a Rank. An attribution gives way to Ranks after each of its pieces, so what a Rank should lose is at most what
is left of one piece. The client, on the same machine, has a share in the wall times; the queue's are the service's own.

Wall times: they mean something on an idle machine only.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from recstack.api.common.v1.common_pb2 import History
from recstack.api.ranking.v1.ranking_pb2 import AttributeRequest, RankRequest
from recstack.api.ranking.v1.ranking_pb2_grpc import RankingServiceStub
from recstack.bundle import BundleStore
from recstack.rpc.channel import aio_channel
from services.ranking.server import running_service
from tests.bench.harness import Comparison, Report, main
from tests.bench.noop_server import run_on_uvloop
from tests.bench.service_process import service_process
from tests.bench.traffic import Open
from tests.bench.world import make_world

CANDIDATES, EVENTS, EXPLAINED = 500, 200, 20
DISTINCT = 50
"""Different requests, asked in turn."""
TIMEOUT_S = 30.0
PERCENTILES = (50, 97, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Sizes of the world, Ranks and attributions a second, Ranks in a phase, and how many phases of each kind."""

    items: int
    users: int
    ranks: float
    attributions: float
    requests: int
    phases: int


FULL = Effort(items=4000, users=6000, ranks=30.0, attributions=0.5, requests=400, phases=6)
SHORT = Effort(items=1000, users=20, ranks=100.0, attributions=20.0, requests=10, phases=1)


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of each Rank: wall, as the caller sees it, and in the service's queue; of each attribution: wall."""

    ranks: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    attributions: list[float] = field(default_factory=list)


def run(console: Console, short: bool) -> Report:
    """Phases without and with attributions, in turn."""
    effort = SHORT if short else FULL
    alone, beside = Times(), Times()
    with TemporaryDirectory(prefix="recstack-bench-") as folder:
        settings = make_world(Path(folder), items=effort.items, users=effort.users, history=EVENTS, ranker="blend")
        store = BundleStore.of(settings)
        active = store.active()
        assert active is not None
        ids = store.open(active).catalogue().ids
        ranking = settings.ranking.model_copy(update={"address": "127.0.0.1:0", "engine": "plain"})
        plain = settings.model_copy(update={"ranking": ranking})
        with service_process(running_service, plain) as port:
            run_on_uvloop(_phases(port, ids, effort, alone, beside))
    report = Report(f"A Rank beside Explain, {effort.ranks:g} and {effort.attributions:g} a second")
    for what, one, other in (("wall", beside.ranks, alone.ranks), ("queue", beside.queue, alone.queue)):
        for percent in PERCENTILES:
            ours, without = np.percentile(one, percent), np.percentile(other, percent)
            report.comparisons.append(
                Comparison.over(f"{what}, p{percent}", "ms", float(ours), "alone", float(without))
            )
    console.print(f"An attribution takes {np.median(beside.attributions):.0f} ms, median of {len(beside.attributions)}")
    report.details["attributions ms"] = float(np.median(beside.attributions))
    return report


async def _phases(port: int, ids: NDArray[np.int64], effort: Effort, alone: Times, beside: Times) -> None:
    rng = np.random.default_rng(0)
    ranks = [RankRequest(item_ids=_some(ids, CANDIDATES, rng), history=_history(ids, rng)) for _ in range(DISTINCT)]
    explained = [
        AttributeRequest(item_ids=_some(ids, EXPLAINED, rng), history=_history(ids, rng)) for _ in range(DISTINCT)
    ]
    asked = iter(range(10**9))
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = RankingServiceStub(channel)

        async def rank(times: Times) -> None:
            started = perf_counter()
            answer = await stub.Rank(ranks[next(asked) % DISTINCT], timeout=TIMEOUT_S, wait_for_ready=True)
            times.ranks.append((perf_counter() - started) * 1e3)
            times.queue.append(answer.queue_ms)

        async def attribute() -> None:
            started = perf_counter()
            await stub.Attribute(explained[next(asked) % DISTINCT], timeout=TIMEOUT_S, wait_for_ready=True)
            beside.attributions.append((perf_counter() - started) * 1e3)

        for _ in range(effort.phases):
            await Open(effort.ranks).drive(lambda: rank(alone), effort.requests)
            fewer = max(1, round(effort.requests * effort.attributions / effort.ranks))
            async with asyncio.TaskGroup() as together:
                together.create_task(Open(effort.ranks).drive(lambda: rank(beside), effort.requests))
                together.create_task(Open(effort.attributions).drive(attribute, fewer))


def _some(ids: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(ids, count, replace=False)


def _history(ids: NDArray[np.int64], rng: np.random.Generator) -> History:
    ratings = rng.integers(1, 6, EVENTS).astype(np.float32)
    return History(item_ids=_some(ids, EVENTS, rng), timestamps_ms=range(1, EVENTS + 1), ratings=ratings)


if __name__ == "__main__":
    main(run, "tests.bench.scoring_explain", __doc__)
