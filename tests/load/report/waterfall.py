"""The waterfall: stages of a request one after the other, their parts below them."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.load.recorder import Recording
from tests.load.report.style import BLUE, FAINT, INK, ORANGE, PALE, SKY, sheet
from tests.load.report.tables import milliseconds
from tests.load.result import TOTAL, depth, stage_names
from tests.load.traffic import RECOMMEND

ROW_INCHES = 0.24
BETWEEN, WAY, CLIENT = "in between", "way there and back", "client"
_BY_DEPTH = (BLUE, SKY, PALE)
_COLOURS = {BETWEEN: FAINT, WAY: FAINT, CLIENT: ORANGE}
_COLUMNS = {"mean": 1.11, "p50": 1.23, "p99 ms": 1.37}


@dataclass(frozen=True, slots=True)
class Bar:
    """One line. start, length: milliseconds, mean; depth: 0 a stage, 1 its component, 2 a part of that.

    p50, p99: milliseconds; None for what is known as a difference of means alone.
    """

    name: str
    start: float
    length: float
    depth: int
    p50: float | None
    p99: float | None


def bars(recording: Recording) -> list[Bar]:
    """Stages in the order in which they run, what is left of the gateway's time, the way there and back, and all of it.

    A stage starts where the one before it ends; a component starts with its stage and a part with its component, as
    the gateway tells durations and not moments.
    """
    made: list[Bar] = []
    end = 0.0
    for name in stage_names(recording):
        if name == TOTAL:
            continue
        histogram = recording.stages[name]
        p50, p99 = histogram.percentiles([50, 99]).values()
        # A stage that not every request passes through counts for as much as it adds to the mean request.
        share = histogram.count / max(1, recording.stages[TOTAL].count) if TOTAL in recording.stages else 1.0
        length = histogram.mean * share
        if depth(name) == 0:
            start, end = end, end + length
        else:
            start = next((bar.start for bar in reversed(made) if bar.depth < depth(name)), 0.0)
        made.append(Bar(name, start, length, depth(name), p50, p99))
    if TOTAL in recording.stages:
        inside, client = recording.stages[TOTAL].mean, recording.rpcs[RECOMMEND].latency_from_send
        p50, p99 = client.percentiles([50, 99]).values()
        made.append(Bar(BETWEEN, end, max(0.0, inside - end), 0, None, None))
        made.append(Bar(WAY, inside, max(0.0, client.mean - inside), 0, None, None))
        made.append(Bar(CLIENT, 0.0, client.mean, 0, p50, p99))
    return made


def waterfall(recording: Recording, load: str) -> Figure:
    """Draw `bars`: names on the left, set in by depth; p50 and p99 in columns on the right."""
    lines = bars(recording)
    figure, (axes,) = sheet([ROW_INCHES * (len(lines) + 1) + 0.4], f"Stages of {RECOMMEND} at {load}", laid_out=False)
    for row, bar in enumerate(lines):
        colour = _COLOURS.get(bar.name, _BY_DEPTH[bar.depth])
        axes.barh(row, bar.length, left=bar.start, height=0.7 if bar.depth == 0 else 0.45, color=colour)
        _beside(axes, -0.31 + 0.025 * bar.depth, row, _short(bar), "left")
        for place, value in zip(_COLUMNS.values(), (bar.length, bar.p50, bar.p99), strict=True):
            _beside(axes, place, row, "" if value is None else milliseconds(value), "right")
    for heading, place in _COLUMNS.items():
        _beside(axes, place, -1, heading, "right", FAINT)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds, mean")
    # The names and columns stand outside the axes, by fractions of their width; so the margins are set here.
    inches = figure.get_figheight()
    figure.subplots_adjust(left=0.19, right=0.77, bottom=0.45 / inches, top=1 - 0.65 / inches)
    return figure


def _short(bar: Bar) -> str:
    return bar.name if bar.depth == 0 else bar.name.rpartition("." if bar.depth == 2 else "/")[2]


def _beside(axes: Axes, place: float, row: int, text: str, align: str, colour: str = INK) -> None:
    axes.text(place, row, text, transform=axes.get_yaxis_transform(), ha=align, va="center", fontsize=9, color=colour)
