"""CPU seconds of one Recommend in the whole stack, over the least that this architecture could spend on it.

Ours: all processes of the stack (services, Ray, Redis), the load generator left out; DIEN ranks 500 candidates against
50 history events. The floor, measured in turns with ours:

- the arithmetic, as direct calls in one process with features in memory: user vector and search, and scoring;
- the RPCs client → gateway → features, retrieval, ranking against plain grpc.aio servers that answer at once, same
  messages, both ends (of the first hop only the server's: the client is the load generator, which ours leaves out too);
- one Redis round trip that reads the user, both ends.

The floor has no validation, no other recall channels, no merging, no titles, no batching, no health, no deadlines: what
ours spends on those shows as the excess, by process. A batch shares arithmetic between requests, so that with several
callers ours may fall below a floor that computes each request alone.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.config import Settings
from recstack.local import LocalStack
from recstack.rpc.channel import aio_channel
from tests.bench.harness import Comparison, Report, main
from tests.bench.in_process import InProcess, UserRead
from tests.bench.noop_server import NoopServer, noop_server, run_on_uvloop
from tests.bench.stack_cpu import cpu_seconds, stack_processes
from tests.bench.traffic import Closed, Open
from tests.bench.world import make_world

K, CANDIDATES, HISTORY = 20, 500, 50
GOAL = 1.3
ASKING_USERS = 40
TRAFFIC: tuple[Closed | Open, ...] = (Open(30.0), Closed(1), Closed(8))
Engine = Literal["plain", "ray"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. requests: per round and kind of traffic; items, users: of the world."""

    engines: tuple[Engine, ...]
    rounds: int
    requests: int
    items: int
    users: int


FULL = Effort(("plain", "ray"), rounds=5, requests=200, items=4000, users=6000)
SHORT = Effort(("plain",), rounds=1, requests=20, items=700, users=50)


def run(console: Console, short: bool) -> Report:
    """Measure every engine under every kind of traffic."""
    report = Report("Recommend: CPU of the whole stack over its floor")
    torch.set_num_threads(1)
    effort = SHORT if short else FULL
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder:
        world = make_world(Path(folder), items=effort.items, users=effort.users, history=2 * HISTORY, ranker="dien")
        settings = bench_settings(world)
        for engine in effort.engines:
            measure(console, report, settings, engine, effort)
    return report


def bench_settings(settings: Settings) -> Settings:
    """The world's settings, with the models' shapes of the goal."""
    sizes = {"history_length": HISTORY, "two_tower_k": CANDIDATES, "max_candidates": CANDIDATES}
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update=sizes)})


def measure(console: Console, report: Report, settings: Settings, engine: Engine, effort: Effort) -> None:
    """Start the stack with one engine and measure it and its floor in turns."""
    with (
        tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder,
        LocalStack(settings, ranking=engine, free_ports=True, redis_folder=Path(folder)) as stack,
    ):
        floor = InProcess(stack.settings, CANDIDATES)
        users = run_on_uvloop(floor.read_users(ASKING_USERS, HISTORY))
        hops = run_on_uvloop(floor.hops(users[0], K))
        with noop_server(hops) as server:
            rounds = [one_round(stack, floor, users, server, effort.requests) for _ in range(effort.rounds + 1)]
    for traffic in TRAFFIC:
        samples = [done[str(traffic)] for done in rounds[1:]]  # the first one warmed everything up
        ours = _medians([sample.ours for sample in samples])
        allowed = _medians([sample.floor for sample in samples])
        what = f"{engine}, {traffic}"
        report.comparisons.append(
            Comparison.over(what, "CPU ms", sum(ours.values()), "floor", sum(allowed.values()), GOAL)
        )
        report.details[what] = {"ours_ms": ours, "floor_ms": allowed}
        console.print(_table(what, ours, allowed), "")


@dataclass(frozen=True, slots=True)
class _Sample:
    """CPU milliseconds per request: ours by process, the floor by part."""

    ours: Mapping[str, float]
    floor: Mapping[str, float]


def one_round(
    stack: LocalStack, floor: InProcess, users: list[UserRead], server: NoopServer, requests: int
) -> dict[str, _Sample]:
    """One turn of everything, by the traffic that drove it."""
    arithmetic = {
        "retrieval: user vector and search": _each(floor.recall, users),
        "ranking: scoring": _each(floor.score, users),
        **floor.redis_round_trip(users),
    }
    return {
        str(traffic): _Sample(
            run_on_uvloop(_stack_cost(stack, traffic, users, requests)),
            arithmetic | run_on_uvloop(_hops_cost(server, traffic, requests)),
        )
        for traffic in TRAFFIC
    }


async def _stack_cost(
    stack: LocalStack, traffic: Closed | Open, users: list[UserRead], requests: int
) -> dict[str, float]:
    """CPU milliseconds per Recommend of each process of the stack."""
    async with aio_channel(stack.settings.gateway.address) as channel:
        stub = gateway_pb2_grpc.RecommenderServiceStub(channel)
        turn = iter(range(requests + 1))

        async def ask() -> None:
            user_id = users[next(turn) % len(users)].user_id
            reply = await stub.Recommend(gateway_pb2.RecommendRequest(user_id=user_id, k=K), timeout=5.0)
            if reply.degraded or len(reply.item_ids) != K:
                raise AssertionError(f"only whole answers are timed; this one is degraded: {list(reply.degraded)}")

        await ask()  # connects
        processes = stack_processes(stack)
        before = cpu_seconds(processes)
        await traffic.drive(ask, requests)
        after = cpu_seconds(processes)
    return {name: (after[name] - before[name]) / requests * 1e3 for name in after}


async def _hops_cost(server: NoopServer, traffic: Closed | Open, requests: int) -> dict[str, float]:
    """CPU milliseconds of each no-op RPC, by end; the client's end of the first hop belongs to the load generator."""
    cost: dict[str, float] = {}
    async with aio_channel(f"127.0.0.1:{server.port}") as channel:
        for number, (name, call) in enumerate(server.calls(channel).items()):
            await call()
            served, client = server.cpu_seconds(), process_time()
            await traffic.drive(call, requests)
            cost[f"{name}: client end"] = (process_time() - client) / requests * 1e3
            cost[f"{name}: server end"] = (server.cpu_seconds() - served) / requests * 1e3
            if number == 0:
                del cost[f"{name}: client end"]
    return cost


def _each(work: Callable[[UserRead], object], users: list[UserRead]) -> float:
    """CPU milliseconds per user of `work`."""
    started = process_time()
    for user in users:
        work(user)
    return (process_time() - started) / len(users) * 1e3


def _medians(samples: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(sample[name] for sample in samples), 3) for name in samples[0]}


def _table(title: str, ours: Mapping[str, float], floor: Mapping[str, float]) -> Table:
    table = Table(box=None, title=f"{title}: CPU ms per Recommend", title_justify="left")
    for side in ("ours, by process", "floor, by part"):
        table.add_column(side)
        table.add_column("ms", justify="right")
    left, right = [(*ours.items(), ("sum", sum(ours.values()))), (*floor.items(), ("sum", sum(floor.values())))]
    for row in range(max(len(left), len(right))):
        cells = [side[row] if row < len(side) else None for side in (left, right)]
        table.add_row(*(text for cell in cells for text in ((cell[0], f"{cell[1]:.2f}") if cell else ("", ""))))
    return table


if __name__ == "__main__":
    main(run, "tests.bench.recommend_floor", __doc__)
