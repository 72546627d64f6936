"""Memory of the whole stack while it serves a catalogue and users of MovieLens-1M's size, by process.

Resident memory (RSS) counts a page in every process that maps it; proportional memory (PSS) divides it among them, so
that the sum of PSS is what the stack takes of the machine. Both are read after some hundred requests through all
services, plain and on Ray. The goal counts PSS. The client and this program are left out. Linux only.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from recstack.config import Settings
from recstack.local import LocalStack
from tests.bench.harness import Comparison, Report, main
from tests.bench.stack_cpu import stack_processes
from tests.bench.world import make_world

GOAL_MIB = 2048.0
K = 20
Engine = Literal["plain", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What is served, and how many requests before memory is read."""

    engines: tuple[Engine, ...]
    requests: int
    items: int
    users: int
    history: int


FULL = Effort(engines=("plain", "ray"), requests=300, items=4000, users=6000, history=200)
SHORT = Effort(engines=("plain",), requests=5, items=200, users=50, history=20)


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of one process: resident, proportional, and private to it."""

    rss: float
    pss: float
    private: float

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.rss + other.rss, self.pss + other.pss, self.private + other.private)

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Of a running process, from /proc."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        return cls(kib["Rss"] / 1024, kib["Pss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024)


def run(console: Console, short: bool) -> Report:
    """Measure with every engine."""
    effort = SHORT if short else FULL
    report = Report("Memory of the whole stack")
    with tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder:
        settings = make_world(
            Path(folder), items=effort.items, users=effort.users, history=effort.history, ranker="blend"
        )
        for engine in effort.engines:
            memory = measure(settings, engine, effort)
            total = sum(memory.values(), Memory(0.0, 0.0, 0.0))
            report.comparisons.append(
                Comparison.over(f"{engine}, sum of PSS", "MiB", total.pss, "goal", GOAL_MIB, goal=1.0)
            )
            report.details[engine] = {
                name: {"rss_mib": round(one.rss, 1), "pss_mib": round(one.pss, 1), "private_mib": round(one.private, 1)}
                for name, one in (memory | {"total": total}).items()
            }
            console.print(_table(engine, memory, total), "")
    return report


def measure(settings: Settings, engine: Engine, effort: Effort) -> dict[str, Memory]:
    """Memory of each process of a stack that has answered requests; processes of one name are added up."""
    with (
        tempfile.TemporaryDirectory(prefix="recstack-bench-") as folder,
        LocalStack(settings, ranking=engine, free_ports=True, redis_folder=Path(folder)) as stack,
        stack.client(timeout=5.0) as client,
    ):
        for number in range(effort.requests):
            answer = client.recommend(1 + number % effort.users, K)
            if answer.degraded:
                raise RuntimeError(f"a degraded stack is not the one to be measured: {answer.degraded}")
        return by_name(stack_processes(stack))


def by_name(processes: Mapping[int, str]) -> dict[str, Memory]:
    """Memory by name, most first. A process that ends meanwhile has none."""
    memory: dict[str, Memory] = {}
    for pid, name in processes.items():
        try:
            one = Memory.of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        memory[name] = memory[name] + one if name in memory else one
    return dict(sorted(memory.items(), key=lambda item: -item[1].pss))


def _table(engine: Engine, memory: Mapping[str, Memory], total: Memory) -> Table:
    table = Table(box=None, title=f"{engine}, MiB", title_justify="left")
    table.add_column("process")
    for heading in ("resident", "proportional", "private"):
        table.add_column(heading, justify="right")
    for name, one in [*memory.items(), ("total", total)]:
        table.add_row(name, f"{one.rss:.0f}", f"{one.pss:.0f}", f"{one.private:.0f}")
    return table


if __name__ == "__main__":
    main(run, "tests.bench.memory", __doc__)
