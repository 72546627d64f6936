"""Latency against rate: what the knee looks like."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.load.knee import Step
from tests.load.report.style import AMBER, BLUE, FAINT, GREEN, INK, ORANGE, PINK, SKY, legend, log_milliseconds, sheet
from tests.load.result import Result, recording_of
from tests.load.traffic import RECOMMEND

_COLOURS = {50.0: SKY, 90.0: BLUE, 99.0: ORANGE, 99.9: PINK}


def latency_by_rate(result: Result) -> Figure:
    """Percentiles and the load generator's lateness above; errors by kind and what was degraded below."""
    figure, (latency, shares) = sheet([3.6, 1.2], "Latency against rate")
    _percentiles(latency, result)
    _limits(latency, result)
    legend(latency, 5)
    _shares(shares, result.steps)
    return figure


def _percentiles(axes: Axes, result: Result) -> None:
    rates = [step.rate for step in result.steps]
    for percent, colour in _COLOURS.items():
        values = [recording_of(step).rpcs[RECOMMEND].latency.percentile(percent) for step in result.steps]
        axes.plot(rates, values, color=colour, linewidth=1.8, label=f"p{percent:g}")
        for step, value in zip(result.steps, values, strict=True):
            fill = "white" if result.target.broken_by(step) else colour
            axes.plot(step.rate, value, marker="o", markersize=5, color=colour, markerfacecolor=fill)
    lag = [step.lag_p99_ms for step in result.steps]
    axes.plot(rates, lag, color=FAINT, linewidth=1.2, linestyle=":", label="generator's lag p99")


def _limits(axes: Axes, result: Result) -> None:
    target, knee = result.target.p99_ms, result.knee
    highest = max(step.rate for step in result.steps)
    axes.set_xlim(0, 1.03 * highest)
    log_milliseconds(axes, target)
    axes.axhline(target, color=INK, linewidth=1, linestyle="--")
    outside = ("axes fraction", "data")
    axes.annotate(f"target\np99\n{target:g} ms", (1.01, target), xycoords=outside, va="center", fontsize=9, color=INK)
    if knee and knee.rate:
        axes.axvline(knee.rate, color=GREEN, linewidth=7, alpha=0.18)
        early = knee.rate < highest / 2
        axes.annotate(
            f"knee {knee.rate:.4g}/s",
            (knee.rate, 0),
            xycoords=("data", "axes fraction"),
            xytext=(8 if early else -8, 7),
            textcoords="offset points",
            ha="left" if early else "right",
            color=GREEN,
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
        )


def _shares(axes: Axes, steps: list[Step]) -> None:
    rates = [step.rate for step in steps]
    recordings = [recording_of(step) for step in steps]
    errors = [recording.errors for recording in recordings]
    degraded = [recording.degraded for recording in recordings]
    top = 1.0
    for words, style, colours, counts in (
        ("error", "-", (ORANGE, PINK, INK), errors),
        ("degraded", "--", (AMBER, GREEN, BLUE), degraded),
    ):
        for number, kind in enumerate(sorted({kind for each in counts for kind in each})):
            share = [100 * each[kind] / max(1, part.calls) for each, part in zip(counts, recordings, strict=True)]
            colour = colours[number % len(colours)]
            axes.plot(rates, share, style, color=colour, marker="o", markersize=4, label=f"{words} {kind}")
            top = max(top, *share)
    axes.set_ylim(-0.06 * top, 1.15 * top)
    axes.set_ylabel("% of calls")
    axes.set_xlabel("requests per second, intended")
    if axes.lines:
        legend(axes, 3)
    else:
        axes.text(0.5, 0.5, "no errors, nothing degraded", transform=axes.transAxes, ha="center", color=FAINT)
