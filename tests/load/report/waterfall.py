"""The waterfall: stages of a request one after the other, their parts below them."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from tests.load.recorder import Recording
from tests.load.report.style import BLUE, FAINT, INK, ORANGE, SKY, sheet
from tests.load.report.tables import milliseconds
from tests.load.result import TOTAL, stage_names
from tests.load.traffic import RECOMMEND

ROW_INCHES = 0.3


@dataclass(frozen=True, slots=True)
class Bar:
    """One line. start, length: milliseconds, mean; depth 0 is a stage, 1 its component, 2 a part of that."""

    name: str
    start: float
    length: float
    depth: int
    p50: float
    p99: float


def bars(recording: Recording) -> list[Bar]:
    """Stages in the order in which they run, then what the way to the gateway takes, then the client's whole time.

    A stage starts where the one before it ends; a component starts with its stage and a part with its component, as
    the gateway tells durations and not moments.
    """
    made: list[Bar] = []
    end = 0.0
    for name in stage_names(recording):
        if name == TOTAL:
            continue
        histogram = recording.stages[name]
        depth = name.count("/") + (name.count(".") if "/" in name else 0)
        p50, p99 = histogram.percentiles([50, 99]).values()
        # A stage that not every request passes through counts for as much as it adds to the mean request.
        share = histogram.count / max(1, recording.stages[TOTAL].count) if TOTAL in recording.stages else 1.0
        length = histogram.mean * share
        if depth == 0:
            start, end = end, end + length
        made.append(Bar(name, start if depth == 0 else made_start(made, depth), length, depth, p50, p99))
    client = recording.rpcs[RECOMMEND].latency_from_send
    if TOTAL in recording.stages:
        inside = recording.stages[TOTAL].mean
        p50, p99 = client.percentiles([50, 99]).values()
        made.append(Bar("way there and back", end, max(0.0, client.mean - inside), 0, 0.0, 0.0))
        made.append(Bar("client", 0.0, client.mean, 0, p50, p99))
    return made


def made_start(made: list[Bar], depth: int) -> float:
    """Where a part of the last bar of a lesser depth starts."""
    return next((bar.start for bar in reversed(made) if bar.depth < depth), 0.0)


def waterfall(recording: Recording, load: str) -> Figure:
    """Draw `bars`."""
    lines = bars(recording)
    figure, (axes,) = sheet([ROW_INCHES * len(lines) + 0.5], f"Stages of {RECOMMEND} at {load}")
    colours = {0: BLUE, 1: SKY, 2: "#b3d9f2"}
    longest = max((bar.start + bar.length for bar in lines), default=1.0)
    for row, bar in enumerate(lines):
        colour = ORANGE if bar.name == "client" else FAINT if bar.name.startswith("way") else colours[min(bar.depth, 2)]
        axes.barh(row, bar.length, left=bar.start, height=0.72 if bar.depth == 0 else 0.46, color=colour)
        text = f"{milliseconds(bar.p50)} / {milliseconds(bar.p99)}" if bar.p99 else f"mean {milliseconds(bar.length)}"
        axes.text(bar.start + bar.length + 0.01 * longest, row, text, va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(lines)), ["   " * bar.depth + bar.name for bar in lines], color=INK, fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, longest * 1.16)
    axes.set_xlabel("milliseconds, mean; at the bars p50 / p99")
    return figure
