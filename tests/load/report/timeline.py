"""The timeline: whether what the percentiles sum up happened all the time, or once."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.load.recorder import Recording, Tick
from tests.load.report.style import AMBER, BLUE, ORANGE, SKY, legend, log_milliseconds, sheet


def timeline(recording: Recording, load: str) -> Figure:
    """Percentiles of each second above; calls, degraded answers and errors below."""
    ticks = [recording.ticks.get(second, Tick()) for second in range(math.ceil(recording.seconds))]
    figure, (latency, calls) = sheet([2.6, 1.5], f"Timeline at {load}")
    for percent, colour in ((50, SKY), (99, ORANGE)):
        values = [tick.latency.percentile(percent) if tick.latency.count else math.nan for tick in ticks]
        latency.plot(values, color=colour, linewidth=1.8, marker="o", markersize=3, label=f"p{percent}")
    log_milliseconds(latency)
    legend(latency, 2)
    _stack(calls, ticks)
    return figure


def _stack(axes: Axes, ticks: list[Tick]) -> None:
    layers = {
        "answered in full": (BLUE, [tick.calls - tick.errors - tick.degraded for tick in ticks]),
        "degraded": (AMBER, [tick.degraded for tick in ticks]),
        "failed": (ORANGE, [tick.errors for tick in ticks]),
    }
    below = [0] * len(ticks)
    for name, (colour, counts) in layers.items():
        axes.bar(range(len(ticks)), counts, bottom=below, width=0.8, color=colour, alpha=0.85, label=name)
        below = [under + count for under, count in zip(below, counts, strict=True)]
    axes.set_ylim(0, max(1, *below) * 1.1)
    axes.set_ylabel("calls/s")
    axes.set_xlabel("seconds since the end of warm-up")
    legend(axes, 3)
