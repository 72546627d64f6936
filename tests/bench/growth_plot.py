"""The growth curves as a picture, drawn from the figures in the JSON file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from services.trainer.evaluation.plots.style import line_style, panels, save

Points = Sequence[Mapping[str, Any]]
"""`Point.as_json` of an axis's points."""

LABELS = {
    "candidates": "candidates ranked",
    "history": "history events",
    "items": "items in the catalogue",
    "users": "users",
}
SMALLEST = 0.02
"""Milliseconds at the bottom of the panels with costs, with room for the legend below what is measured."""
UNITS = ((1e6, "M"), (1e3, "k"))


def plot(axes: Mapping[str, Points], path: Path) -> None:
    """A panel with costs for each axis, then Redis memory by history and process memory by catalogue."""
    titles = [f"ms per Recommend, by {LABELS[name]}" for name in axes]
    figure, grid = panels([*titles, "Redis bytes per user, by history", "resident MB, by catalogue"])
    for panel, (name, points) in zip(grid, axes.items(), strict=False):
        _costs(panel, name, points)
    most = max(panel.get_ylim()[1] for panel in grid[: len(axes)])
    for panel in grid[: len(axes)]:  # one scale, so that the panels can be compared
        panel.set_ylim(SMALLEST, most)
    grid[0].legend(frameon=False, fontsize=7, ncols=2, loc="lower right")
    _lines(grid[-2], "history", axes["history"], {"bytes": [point["user_bytes"] for point in axes["history"]]})
    names = sorted(axes["items"][0]["resident_mb"])
    _lines(grid[-1], "items", axes["items"], {n: [point["resident_mb"][n] for point in axes["items"]] for n in names})
    save(figure, path)


def _costs(panel: Axes, name: str, points: Points) -> None:
    """CPU by service, their sum, and the wall time; all processes in the same colours and order in every panel."""
    services = sorted(points[0]["cpu_ms"])
    _lines(panel, name, points, {service: [point["cpu_ms"][service] for point in points] for service in services})
    sizes = _sizes(name, points)
    panel.plot(sizes, [point["total_cpu_ms"] for point in points], color="black", linewidth=2.2, label="CPU, all")
    panel.plot(sizes, [point["p50_ms"] for point in points], color="grey", linestyle=":", label="wall p50")


def _lines(panel: Axes, name: str, points: Points, series: Mapping[str, Sequence[float]]) -> None:
    sizes = _sizes(name, points)
    for number, (label, values) in enumerate(series.items()):
        seen = [value if value > 0 else np.nan for value in values]  # 0: less than the clock tells
        panel.plot(sizes, seen, **line_style(number, ours=True), label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(sizes, [_number(size) for size in sizes])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(LABELS[name])


def _sizes(name: str, points: Points) -> list[int]:
    return [point["size"][name] for point in points]


def _number(value: float) -> str:
    """1500 as 1.5k."""
    divisor, unit = next(((divisor, unit) for divisor, unit in UNITS if value >= divisor), (1, ""))
    return f"{value / divisor:g}{unit}"
