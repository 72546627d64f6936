"""How plots look: colours that colour-blind people tell apart, a marker beside each, few lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito, Color Universal Design, 2008; without its yellow, which is too pale for a line."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PANEL = (4.6, 3.4)


def panels(titles: Sequence[str], columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, `columns` in a row."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    return figure, list(grid[: len(titles)])


def line_style(number: int, ours: bool) -> dict[str, Any]:
    """Keyword arguments for `Axes.plot`: ours drawn through, baselines dashed."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.6 if ours else 1.1,
        "linestyle": "-" if ours else "--",
    }


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, dpi=100, format="png")
