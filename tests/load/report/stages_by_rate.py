"""Stages against rate: which part of a request grows with the load."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tests.load.recorder import Recording
from tests.load.report.style import AMBER, BLUE, GREEN, INK, ORANGE, PALE, PINK, SKY, legend, sheet
from tests.load.result import TOTAL, Result, depth, recording_of, stage_names
from tests.load.traffic import RECOMMEND

_COLOURS = (SKY, BLUE, GREEN, AMBER, PINK, ORANGE, PALE)
_BEYOND = 1.25
"""Rates above so many knees are left out: there, waiting dwarfs everything."""
_SMALL = 0.03
"""Stages below this share of all are drawn together."""


def stages_by_rate(result: Result) -> Figure:
    """Mean milliseconds of each stage, one on top of the other, over the rate."""
    knee = result.knee.rate if result.knee else 0.0
    steps = [step for step in result.steps if not knee or step.rate <= _BEYOND * knee]
    rates = [step.rate for step in steps]
    figure, (axes,) = sheet([3.0], f"Stages of {RECOMMEND} against rate")
    below = [0.0] * len(steps)
    for (name, means), colour in zip(layers([recording_of(step) for step in steps]).items(), _COLOURS, strict=False):
        top = [under + mean for under, mean in zip(below, means, strict=True)]
        axes.fill_between(rates, below, top, color=colour, linewidth=0, alpha=0.9, label=name)
        below = top
    totals = [_mean(recording_of(step), TOTAL) for step in steps]
    axes.plot(rates, totals, color=INK, linewidth=1.2, linestyle="--", marker="o", markersize=3, label=TOTAL)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests per second, intended")
    axes.set_ylabel("milliseconds, mean")
    legend(axes, len(_COLOURS) + 1)
    return figure


def layers(recordings: Sequence[Recording]) -> dict[str, list[float]]:
    """Mean milliseconds at each rate by stage, in the order in which they run; the small ones together as "other"."""
    names = dict.fromkeys(name for each in recordings for name in stage_names(each) if depth(name) == 0)
    means = {name: [_mean(each, name) for each in recordings] for name in names if name != TOTAL}
    whole = sum(sum(values) for values in means.values())
    large = {name: values for name, values in means.items() if sum(values) >= _SMALL * whole}
    other = [sum(values) for values in zip(*(means[name] for name in means if name not in large), strict=True)]
    return large | ({"other": other} if any(other) else {})


def _mean(recording: Recording, stage: str) -> float:
    return recording.stages[stage].mean if stage in recording.stages else 0.0
