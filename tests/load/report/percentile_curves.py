"""Percentile curves as HdrHistogram draws them: each further nine of the calls has the same width."""

import math

from matplotlib.figure import Figure

from tests.load.recorder import Histogram, Recording
from tests.load.report.style import BLUE, FAINT, GREEN, INK, ORANGE, PINK, legend, log_milliseconds, sheet
from tests.load.traffic import EVENTS, EXPLAIN, RECOMMEND, SIMILAR

_COLOURS = {RECOMMEND: ORANGE, EVENTS: GREEN, SIMILAR: BLUE, EXPLAIN: PINK}
_POINTS = 120


def percentile_curves(recording: Recording, load: str) -> Figure:
    """A line for each RPC, over 1 / (1 - share of calls); Recommend also from the actual send."""
    figure, (axes,) = sheet([3.9], f"Percentiles at {load}")
    most = 10
    for name, rpc in sorted(recording.rpcs.items(), key=lambda item: -item[1].calls):
        if rpc.latency.count:
            width = 2.4 if name == RECOMMEND else 1.5
            axes.plot(*curve(rpc.latency), color=_COLOURS.get(name, FAINT), linewidth=width, label=name)
            most = max(most, rpc.latency.count)
    watched = recording.rpcs.get(RECOMMEND)
    if watched and watched.latency.count:
        line = curve(watched.latency_from_send)
        axes.plot(*line, color=INK, linewidth=1.2, linestyle="--", label=f"{RECOMMEND}, from send")
    axes.set_xscale("log")
    axes.set_xticks(*share_ticks(math.floor(math.log10(most))))
    axes.minorticks_off()
    axes.set_xlim(0.9, 1.2 * most)
    log_milliseconds(axes)
    axes.set_xlabel("share of calls that took at most so long")
    legend(axes, 5)
    return figure


def curve(histogram: Histogram) -> tuple[list[float], list[float]]:
    """1 / (1 - share) and milliseconds, up to the share that leaves one call out."""
    nines = math.log10(max(2, histogram.count))
    over = [10 ** (nines * point / _POINTS) for point in range(_POINTS + 1)]
    values = histogram.percentiles([100 * (1 - 1 / each) for each in over])
    return over, list(values.values())


def share_ticks(nines: int) -> tuple[list[float], list[str]]:
    """Where 0 %, 50 %, 90 %, 99 %, 99.9 %, ... lie."""
    places = [1.0, 2.0, *(10.0**nine for nine in range(1, nines + 1))]
    labels = [f"{100 * (1 - 1 / 10**nine):.{max(0, nine - 2)}f} %" for nine in range(1, nines + 1)]
    return places, ["0 %", "50 %", *labels]
