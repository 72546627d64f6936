"""Time Recommend(k=20) over 500 candidates through all four services, by stage.

    python -m tests.bench.recommend [--requests 500] [--concurrency 1 8] [--ranking ray plain] [--out FILE.json]

Starts the stack on free ports with the active bundle, asks for users with a full history, and prints percentiles of
the client's wall time and of every stage that the gateway reports. One machine carries client, services and Redis.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recstack import Client, RecommendationList
from recstack.bundle import BundleStore
from recstack.config import Settings, load_settings
from recstack.local import LocalStack

K = 20
CANDIDATES = 500
WARM_UP = 50
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall milliseconds of one request, seen by the client and by each stage of the gateway."""

    client_ms: float
    stages_ms: dict[str, float]
    candidates: int
    degraded: tuple[str, ...]


def bench_settings() -> Settings:
    """The configured settings, asking enough of the channels that 500 distinct candidates are always ranked."""
    settings = load_settings()
    gateway = settings.gateway.model_copy(update={"two_tower_k": CANDIDATES, "max_candidates": CANDIDATES})
    return settings.model_copy(update={"gateway": gateway})


def users_with_history(settings: Settings, length: int) -> NDArray[np.int64]:
    """Ids of users with at least `length` events in the active bundle, in random order."""
    store = BundleStore.of(settings)
    folder = store.open(store.active() or "").folder
    with np.load(folder / "features/histories.npz", allow_pickle=False) as columns:
        users = columns["user_ids"][columns["lengths"] >= length]
    return np.random.default_rng(0).permutation(users)


def measure(client: Client, users: Sequence[int], concurrency: int) -> tuple[list[Timing], float]:
    """Closed loop: `concurrency` callers, each sends its next request when it has its answer. Also requests/s."""

    def ask(user: int) -> Timing:
        started = perf_counter()
        answer: RecommendationList = client.recommend(user, K, timeout=5.0)
        elapsed = (perf_counter() - started) * 1000
        stages = {timing.stage: timing.duration_ms for timing in answer.timings}
        return Timing(elapsed, stages, answer.candidates, answer.degraded)

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(ask, users[:WARM_UP]))
        started = perf_counter()
        timings = list(pool.map(ask, users))
        return timings, len(timings) / (perf_counter() - started)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in PERCENTILES}


def summarise(engine: str, concurrency: int, timings: Sequence[Timing], rate: float) -> dict[str, object]:
    """One run as plain data: percentiles by stage in the order of the pipeline, the client's wall time first."""
    stages = list(dict.fromkeys(name for timing in timings for name in timing.stages_ms))
    return {
        "engine": engine,
        "concurrency": concurrency,
        "requests": len(timings),
        "requests_per_second": round(rate, 1),
        "recalled_median": float(np.median([timing.candidates for timing in timings])),
        "ranked_median": float(np.median([min(timing.candidates, CANDIDATES) for timing in timings])),
        "degraded": sum(bool(timing.degraded) for timing in timings),
        "milliseconds": {
            "client": percentiles([timing.client_ms for timing in timings]),
            **{name: percentiles([t.stages_ms[name] for t in timings if name in t.stages_ms]) for name in stages},
        },
    }


def show(console: Console, run: dict[str, object]) -> None:
    """Print one run as a table."""
    table = Table(
        title=f"{run['engine']}, {run['concurrency']} at a time: {run['requests_per_second']} requests/s, "
        f"{run['ranked_median']:.0f} of {run['recalled_median']:.0f} candidates ranked, {run['degraded']} of "
        f"{run['requests']} degraded",
        title_justify="left",
        box=None,
    )
    table.add_column("stage, ms")
    for p in PERCENTILES:
        table.add_column(f"p{p}", justify="right")
    milliseconds = run["milliseconds"]
    assert isinstance(milliseconds, dict)
    for name, row in milliseconds.items():
        indent = "" if name in ("client", "total") else "    " if "/" in name else "  "
        table.add_row(indent + name, *(f"{row[f'p{p}']:.2f}" for p in PERCENTILES))
    console.print(table, "")


def main() -> None:
    """Run every engine and concurrency asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=500, help="requests per run")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8], help="callers at a time")
    parser.add_argument("--ranking", choices=["ray", "plain"], nargs="+", default=["ray"], help="ranking engines")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()

    console, settings, runs = Console(), bench_settings(), []
    users = users_with_history(settings, settings.gateway.history_length)[: arguments.requests].tolist()
    for engine in arguments.ranking:
        runs += run_engine(console, settings, engine, users, arguments.concurrency)
    if arguments.out:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"machine": machine, "runs": runs}, indent=2) + "\n")
        console.print(f"Written to {arguments.out}", highlight=False)


def run_engine(
    console: Console, settings: Settings, engine: Literal["ray", "plain"], users: list[int], concurrencies: list[int]
) -> list[dict[str, object]]:
    """Start the stack with one ranking engine and measure at each concurrency."""
    runs = []
    # A Redis folder of its own: the bench must not read or change what a running stack has stored.
    with (
        tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder,
        LocalStack(settings, ranking=engine, free_ports=True, redis_folder=Path(folder)) as stack,
        stack.client(timeout=5.0) as client,
    ):
        for concurrency in concurrencies:
            timings, rate = measure(client, users, concurrency)
            runs.append(summarise(engine, concurrency, timings, rate))
            show(console, runs[-1])
    return runs


if __name__ == "__main__":
    main()
