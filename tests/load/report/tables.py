"""Tables of a result, in the terminal and (as rows) for the page."""

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.load.knee import Step, Target
from tests.load.recorder import Recording
from tests.load.result import Result, depth, headline, recording_of, stage_names, verdict
from tests.load.traffic import RECOMMEND

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text. The first column holds names, the others numbers, except for `words`, the last of them."""

    title: str
    headings: Row
    rows: tuple[Row, ...]
    words: bool = False


def grids(result: Result) -> list[Grid]:
    """All tables that there is something for."""
    tables = [rpc_grid(result.recording, result.load)]
    if result.knee:
        tables.insert(0, steps_grid(result.steps, result.target))
    tables += [stages_grid(result.steps), trouble_grid(result.steps), notes_grid(result.recording)]
    return [table for table in tables if table.rows]


def steps_grid(steps: list[Step], target: Target) -> Grid:
    """One line per rate of the search."""
    headings = ("requests/s", "Recommend/s", "p50 ms", "p99 ms", "errors", "degraded", "lag p99 ms", "target")
    rows = tuple(step_row(step, target) for step in steps)
    return Grid(f"Steps: latency of {RECOMMEND}, from the intended send", headings, rows, words=True)


def step_row(step: Step, target: Target) -> Row:
    """One step."""
    recording = recording_of(step)
    pages = recording.rpcs[RECOMMEND]
    return (
        f"{step.rate:.4g}",
        f"{pages.calls / recording.seconds:.1f}",
        milliseconds(pages.latency.percentile(50)),
        milliseconds(step.p99_ms),
        f"{step.error_share:.2%}",
        f"{step.degraded_share:.1%}",
        milliseconds(step.lag_p99_ms),
        verdict(step, target),
    )


def rpc_grid(recording: Recording, load: str) -> Grid:
    """One line per RPC."""
    headings = ("RPC", "calls/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "degraded")
    rows = []
    for name, rpc in sorted(recording.rpcs.items(), key=lambda item: -item[1].calls):
        latency = rpc.latency.percentiles([50, 90, 99, 99.9])
        rows.append(
            (
                name,
                f"{rpc.calls / recording.seconds:.1f}",
                *(milliseconds(value) for value in latency.values()),
                milliseconds(rpc.latency.max),
                str(rpc.errors.total()),
                str(rpc.degraded_calls),
            )
        )
    return Grid(f"Calls: {load}, {recording.seconds:g} s", headings, tuple(rows))


def stages_grid(steps: list[Step]) -> Grid:
    """p50 and p99 of each stage at each rate."""
    recordings = [recording_of(step) for step in steps]
    names = list(dict.fromkeys(name for recording in recordings for name in stage_names(recording)))
    rows = []
    for name in names:
        cells = []
        for recording in recordings:
            values = recording.stages[name].percentiles([50, 99]) if name in recording.stages else {}
            cells.append(" / ".join(milliseconds(value) for value in values.values()))
        rows.append((indented(name), *cells))
    rates = tuple(f"{step.rate:.4g}/s" for step in steps)
    return Grid(f"Stages of {RECOMMEND}, as the gateway tells them: p50 / p99 ms", ("stage", *rates), tuple(rows))


def trouble_grid(steps: list[Step]) -> Grid:
    """Errors by kind and degraded answers by component, at each rate."""
    recordings = [recording_of(step) for step in steps]
    kinds = sorted({kind for recording in recordings for kind in recording.errors})
    rows = [(f"error {kind}", *(str(recording.errors[kind]) for recording in recordings)) for kind in kinds]
    components = sorted({name for recording in recordings for name in recording.degraded})
    rows += [(f"degraded {name}", *(str(recording.degraded[name]) for recording in recordings)) for name in components]
    rates = tuple(f"{step.rate:.4g}/s" for step in steps)
    return Grid("Errors by kind, degraded answers by component", ("calls", *rates), tuple(rows))


def notes_grid(recording: Recording) -> Grid:
    """What the traffic noticed, warm-up included, and how the load generator did."""
    counts = recording.counts
    rows = [
        (name, str(counts[name]))
        for name in ("sessions", "cold starts", "events", "clicks", "seen again", "events known before")
    ]
    lag = recording.lag.percentiles([50, 99])
    rows.append(("load generator: lag p50 / p99 ms", f"{milliseconds(lag[50])} / {milliseconds(lag[99])}"))
    rows.append(("load generator: CPU ms per call", f"{1000 * recording.cpu_seconds / max(1, recording.calls):.2f}"))
    return Grid("Traffic", ("what", "count"), tuple(rows))


def show(console: Console, result: Result) -> None:
    """Print everything."""
    for grid in grids(result):
        console.print(grid.title, style="bold", markup=False, highlight=False)
        console.print(_rich(grid), "")
    console.print(escape(headline(result)), style="bold", highlight=False)


def _rich(grid: Grid) -> Table:
    table = Table(box=None, header_style="dim")
    for number, heading in enumerate(grid.headings):
        words = number == 0 or (grid.words and number == len(grid.headings) - 1)
        table.add_column(heading, justify="left" if words else "right")
    for row in grid.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def indented(stage: str) -> str:
    """A stage's name, set in by its depth."""
    return "  " * depth(stage) + stage


def milliseconds(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
