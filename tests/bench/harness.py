"""What every benchmark shares: sides that run in turn, medians and ratios, the machine, a table and a JSON file.

A benchmark is a module with `run(console, short) -> Report`, started by `main`. Absolute times differ from machine to
machine and from minute to minute; sides that take turns within one run see the same machine, so ratios hold.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recstack.revision import git_revision
from services.trainer.evaluation.bench import machine

Side = Callable[[], object]
"""One repetition of a measured thing. A float that it returns is its own reading in seconds, and replaces ours."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of each repetition of one side."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, seconds."""
        return statistics.median(self.seconds)

    @property
    def milliseconds(self) -> float:
        """The median, milliseconds."""
        return self.median * 1e3


def interleave(
    sides: Mapping[str, Side],
    rounds: int,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Sample]:
    """Run every side once per round, in an order that rotates, after `warm_up` rounds that do not count.

    clock: `time.perf_counter` for wall time, `time.process_time` for the CPU seconds of this process. The garbage
    collector waits meanwhile, as it would charge one side for what another left behind.
    """
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                started = clock()
                own = sides[name]()
                elapsed = clock() - started
                if number >= warm_up:
                    seconds[name].append(own if isinstance(own, float) else elapsed)
    finally:
        gc.enable()
    return {name: Sample(tuple(values)) for name, values in seconds.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours beside another side. ratio: how the goal counts it; `faster`, `more` and `over` make one."""

    what: str
    unit: str
    ours: float
    other_name: str
    other: float
    ratio: float
    goal: float | None = None
    at_most: bool = False

    @classmethod
    def faster(
        cls, what: str, unit: str, ours: float, other_name: str, other: float, goal: float | None = None
    ) -> "Comparison":
        """Times or costs: how many times less ours takes."""
        return cls(what, unit, ours, other_name, other, other / ours, goal)

    @classmethod
    def more(
        cls, what: str, unit: str, ours: float, other_name: str, other: float, goal: float | None = None
    ) -> "Comparison":
        """Rates: how many times more ours does."""
        return cls(what, unit, ours, other_name, other, ours / other, goal)

    @classmethod
    def over(
        cls, what: str, unit: str, ours: float, other_name: str, other: float, goal: float | None = None
    ) -> "Comparison":
        """Ours over a floor or a budget, which it should exceed by at most `goal` times."""
        return cls(what, unit, ours, other_name, other, ours / other, goal, at_most=True)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


@dataclass(slots=True)
class Report:
    """Figures of one benchmark. details: whatever else the JSON should keep, plain data."""

    title: str
    comparisons: list[Comparison] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the comparisons as a table."""
        table = Table(box=None, title=self.title, title_justify="left", title_style="bold")
        for heading in ("what", "unit"):
            table.add_column(heading)
        for heading in ("ours", "other", "ratio", "goal"):
            table.add_column(heading, justify="right")
        for line in self.comparisons:
            sign = "≤" if line.at_most else "≥"
            goal = "" if line.goal is None else f"{sign} {line.goal:g} {'reached' if line.reached else 'MISSED'}"
            other = f"{line.other_name} {_short(line.other)}"
            table.add_row(line.what, line.unit, _short(line.ours), other, f"{line.ratio:.2f}×", goal)
        console.print(table)

    def write(self, path: Path, command: str) -> None:
        """Write everything as JSON, with the machine, the revision and the command that prints it again."""
        lines = [asdict(line) | {"reached": line.reached} for line in self.comparisons]
        head = {"title": self.title, "command": command, "machine": machine(), "revision": git_revision()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head | {"comparisons": lines} | self.details, indent=2) + "\n")


def main(run: Callable[[Console, bool], Report], module: str, description: str | None) -> None:
    """Command line of a benchmark: `python -m tests.bench.NAME [--short] [--out FILE.json]`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(description or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small and quick: shows that it runs, figures mean little")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    console = Console(width=140)
    report = run(console, arguments.short)
    report.show(console)
    if arguments.out:
        report.write(arguments.out, f"python -m {module}")
        console.print(f"Written to {arguments.out}", highlight=False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
