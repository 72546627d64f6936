"""What tracing costs: CPU of the gateway, and of the whole stack, per Recommend without it, and with a share of traces.

Three stacks with the same bundle stand side by side and are asked in turns; one traces nothing, one a twentieth of all
requests (what the Kubernetes component sets), one all of them. Spans go to a collector in this program, whose own CPU
is left out, as is the caller's.
"""

import contextlib
import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.config import Settings, TracingSettings
from recstack.local import LocalStack
from recstack.rpc.channel import aio_channel
from tests.bench.harness import Comparison, Report, main
from tests.bench.noop_server import run_on_uvloop
from tests.bench.stack_cpu import cpu_seconds, stack_processes
from tests.bench.traffic import Closed
from tests.bench.world import make_world
from tests.helpers.collector import running_collector

K, ASKING_USERS = 20, 40
CALLERS = 4
SHARES = {"without": None, "5 % traced": 0.05, "all traced": 1.0}


def run(console: Console, short: bool) -> Report:
    """Start a stack for each of SHARES and let them take turns."""
    rounds, requests = (1, 20) if short else (24, 100)
    report = Report("Tracing: CPU per Recommend")
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="recstack-bench-")))
        endpoint = running.enter_context(running_collector()).endpoint
        world = make_world(folder, items=700, users=60) if short else make_world(folder)
        stacks = {
            name: running.enter_context(LocalStack(_settings(world, folder / name, endpoint, share), free_ports=True))
            for name, share in SHARES.items()
        }
        turns = [one_round(stacks, number, requests) for number in range(rounds + 1)][1:]  # the first one warms up
    for what in ("gateway", "whole stack"):
        of = {name: statistics.median(turn[name][what] for turn in turns) for name in SHARES}
        report.details[what] = {name: round(cpu_ms, 3) for name, cpu_ms in of.items()}
        for name in list(SHARES)[1:]:
            report.comparisons.append(Comparison.over(f"{what}, {name}", "CPU ms", of[name], "without", of["without"]))
    return report


def one_round(stacks: dict[str, LocalStack], number: int, requests: int) -> dict[str, dict[str, float]]:
    """Each stack once, in an order that rotates; CPU milliseconds per Recommend by stack and part."""
    names = list(stacks)
    turn = number % len(names)
    return {name: run_on_uvloop(_cost(stacks[name], requests)) for name in names[turn:] + names[:turn]}


def _settings(world: Settings, home: Path, endpoint: str, share: float | None) -> Settings:
    tracing = TracingSettings() if share is None else TracingSettings(endpoint=endpoint, sample_ratio=share)
    ranking = world.ranking.model_copy(update={"engine": "plain"})
    return world.model_copy(update={"home": home, "ranking": ranking, "tracing": tracing})


async def _cost(stack: LocalStack, requests: int) -> dict[str, float]:
    """CPU milliseconds per Recommend."""
    async with aio_channel(stack.settings.gateway.address) as channel:
        stub = gateway_pb2_grpc.RecommenderServiceStub(channel)
        turn = iter(range(requests + 1))

        async def ask() -> None:
            user_id = next(turn) % ASKING_USERS + 1
            await stub.Recommend(gateway_pb2.RecommendRequest(user_id=user_id, k=K), timeout=60.0)

        await ask()  # connects
        processes = stack_processes(stack)
        before = cpu_seconds(processes)
        await Closed(CALLERS).drive(ask, requests)
        after = cpu_seconds(processes)
    spent = {name: (after[name] - before[name]) / requests * 1e3 for name in after}
    return {"gateway": spent["gateway"], "whole stack": sum(spent.values())}


if __name__ == "__main__":
    main(run, "tests.bench.tracing_cost", __doc__)
