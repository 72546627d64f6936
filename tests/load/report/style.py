"""How the plots look: one width, few lines, colours that colour-blind people tell apart, legible when small."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
"""Okabe and Ito, Color Universal Design, 2008."""
PALE = "#b8ddf4"
WIDTH = 8.0
PNG_DPI = 150

_LOOK: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.hashsalt": "recstack",
}


def sheet(heights: Sequence[float], title: str, *, laid_out: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with panels of these heights (inches) one below the other, that share what lies along x.

    laid_out: margins are made to fit what the panels hold; otherwise the caller sets them.
    """
    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained" if laid_out else None)
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights).ravel()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure, list(axes)


def log_milliseconds(axes: Axes, *values: float) -> None:
    """A logarithmic axis that holds all lines drawn so far and `values`, with plain numbers at 1, 2, 5, 10, ..."""
    drawn = [*values, *(float(y) for line in axes.lines for y in np.ravel(line.get_ydata()) if y > 0)]
    low, high = min(drawn, default=1.0) / 1.4, max(drawn, default=10.0) * 1.4
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("milliseconds")


def legend(axes: Axes, columns: int) -> None:
    """A legend above the panel, where no line can be."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=columns,
        fontsize=9,
        frameon=False,
        handlelength=1.6,
        columnspacing=1.4,
        labelcolor=INK,
    )


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an SVG element to put into HTML; its text is drawn as paths, so that it looks alike anywhere."""
    buffer = io.StringIO()
    with mpl.rc_context(_LOOK):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
