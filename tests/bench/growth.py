"""What a Recommend costs as candidates, history, catalogue and users grow, each alone.

    python -m tests.bench.growth [--short] [--million] [--out docs/benchmarks/growth.json]

Each point is a whole stack (plain ranking engine: Ray adds the same to every point) that serves a world of random
weights, asked by one caller at a time, each user once. The tables show CPU milliseconds by service, wall times as the
caller sees them, and memory; the plot, beside the JSON, shows the same on two logarithmic axes.

How to read it: an exponent of 0 is flat, 1 linear, above 1 worse. The first is fitted over the whole axis, where what
does not grow hides what does; the second over the last step alone. A comparison "reached" says that the cost grew at
most as much as the size. Other sizes stay as they are: 4,000 items (20,000 where candidates grow, so that there are
enough to rank), 6,000 users, 200 events (20 where users grow), 500 candidates.

--million: also a catalogue and a user base of a million, which takes half an hour more, most of it for building the
index.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.growth_plot import plot
from tests.bench.growth_points import Point, Size, measure
from tests.bench.harness import Comparison, Report
from tests.bench.world import worlds_folder

BASE = Size(items=4_000, users=6_000, history=200, candidates=500)
REQUESTS, SHORT_REQUESTS = 240, 20
MILLION = 1_000_000
SMALLEST = 0.1
"""Milliseconds of CPU: the system counts in hundredths of a second, spread over REQUESTS."""
FLAT = 1.1
"""Bytes per user may differ by so much, however many users there are: Redis doubles its hash tables now and then."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What grows: the name of a field of Size, its values, and the sizes of all else."""

    name: str
    values: tuple[int, ...]
    base: Size = BASE

    @property
    def sizes(self) -> list[Size]:
        """The sizes to measure."""
        return [replace(self.base, **{self.name: value}) for value in self.values]


AXES = (
    Axis("candidates", (100, 200, 500, 1_000, 2_000, 5_000), replace(BASE, items=20_000)),
    Axis("history", (20, 50, 100, 200, 500)),
    Axis("items", (4_000, 20_000, 100_000, 200_000)),
    Axis("users", (6_000, 20_000, 60_000), replace(BASE, history=20)),
)
SMALL = Size(items=400, users=300, history=20, candidates=100)
SHORT_AXES = (
    Axis("candidates", (50, 200), SMALL),
    Axis("history", (10, 40), SMALL),
    Axis("items", (400, 1_600), SMALL),
    Axis("users", (300, 1_200), SMALL),
)


def run(console: Console, short: bool, million: bool = False) -> Report:
    """Measure every axis."""
    axes = SHORT_AXES if short else AXES
    if million:
        axes = tuple(
            replace(axis, values=(*axis.values, MILLION)) if axis.name in ("items", "users") else axis for axis in axes
        )
    requests = SHORT_REQUESTS if short else REQUESTS
    known: dict[Size, Point] = {}
    report = Report("Growth of the cost of a Recommend, from the smallest to the largest size of each axis")
    for axis in axes:
        for size in axis.sizes:
            if size not in known:
                console.print(f"{axis.name}: {size}", highlight=False)
                known[size] = measure(size, worlds_folder(), requests)
        points = [known[size] for size in axis.sizes]
        show(console, axis, points)
        report.comparisons += compare(axis, points)
        report.details.setdefault("axes", {})[axis.name] = [point.as_json() for point in points]
        report.details.setdefault("exponents", {})[axis.name] = {
            name.strip(): exponents(axis.values, values) for name, values in rows(points).items()
        }
    return report


def rows(points: Sequence[Point]) -> dict[str, list[float]]:
    """What is shown of each point, by name."""
    takes: Mapping[str, Callable[[Point], float]] = {
        "CPU, ms": lambda point: point.total_cpu_ms,
        **{
            f"  {name}": lambda point, name=name: point.cpu_ms.get(name, 0.0)  # type: ignore[misc]
            for name in points[0].cpu_ms
        },
        "wall p50, ms": lambda point: point.p50_ms,
        "wall p99, ms": lambda point: point.p99_ms,
        **({"Redis bytes per user": lambda point: point.user_bytes} if _users_differ(points) else {}),
        "resident, MB": lambda point: sum(point.resident_mb.values()),
    }
    return {name: [take(point) for point in points] for name, take in takes.items()}


def _users_differ(points: Sequence[Point]) -> bool:
    """Whether it is users that grow, by number or by history. Beside a million items theirs is not told apart well."""
    return len({(point.size.users, point.size.history) for point in points}) > 1


def exponents(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float] | None:
    """The power of the size that a value grows with: over all sizes (least squares), and over the last step.

    None for values that the clock hardly sees.
    """
    if min(values) < SMALLEST:
        return None
    x, y = np.log(sizes), np.log(values)
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def compare(axis: Axis, points: Sequence[Point]) -> list[Comparison]:
    """The largest size beside the smallest. Cost should grow at most linearly; memory per user not at all."""
    first, last = points[0], points[-1]
    growth = axis.values[-1] / axis.values[0]
    what = f"{axis.name} {axis.values[0]:,} → {axis.values[-1]:,}"
    name = f"at {axis.values[0]:,}"
    lines = [Comparison.over(what, "CPU ms", last.total_cpu_ms, name, first.total_cpu_ms, growth)]
    if axis.name in ("history", "users"):
        limit = FLAT if axis.name == "users" else growth
        lines.append(Comparison.over(what, "Redis bytes per user", last.user_bytes, name, first.user_bytes, limit))
    return lines


def show(console: Console, axis: Axis, points: Sequence[Point]) -> None:
    """Print an axis as a table."""
    others = [f"{value:,} {name}" for name, value in asdict(axis.base).items() if name != axis.name]
    table = Table(box=None, title=f"{axis.name}, with {', '.join(others)}", title_justify="left", title_style="bold")
    table.add_column("per Recommend")
    for value in axis.values:
        table.add_column(f"{value:,}", justify="right")
    table.add_column("exponent", justify="right")
    table.add_column("last step", justify="right")
    for name, values in rows(points).items():
        powers = [f"{power:.2f}" for power in exponents(axis.values, values) or ()]
        table.add_row(name, *(_short(value) for value in values), *powers)
    table.add_row("candidates ranked", *(f"{point.ranked:.0f}" for point in points))
    table.add_row("degraded answers", *(f"{point.degraded} of {point.requests}" for point in points))
    console.print(table, "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="small and quick: shows that it runs, figures mean little")
    parser.add_argument("--million", action="store_true", help="also a million items and a million users")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file, and the plot beside it")
    arguments = parser.parse_args()
    console = Console(width=140)
    report = run(console, arguments.short, arguments.million)
    report.show(console)
    if arguments.out:
        report.write(arguments.out, "python -m tests.bench.growth" + (" --million" if arguments.million else ""))
        plot(report.details["axes"], arguments.out.with_suffix(".png"))
        console.print(f"Written to {arguments.out}, with a plot beside it", highlight=False)


if __name__ == "__main__":
    main()
