"""A picture of a run: loss, validation metric and learning rate by epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.trainer.fit.config import FitConfig

LINE, BEST = "#3b6ea5", "#c0504d"


def draw_curves(
    path: Path, title: str, metric_name: str, best_epoch: int, history: Sequence[dict[str, float]], config: FitConfig
) -> None:
    """Write the curves of `history` (a row per finished epoch, the best of which is marked) to `path`, as PNG."""
    from matplotlib.figure import Figure  # half a second, which whoever only imports the trainer need not wait

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    figure.suptitle(title)
    loss, metric, rate = figure.subplots(1, 3)

    loss.plot(epochs, [row["loss"] for row in history], ".-", color=LINE)
    loss.set_title("training loss")

    metric.plot(epochs, [row[metric_name] for row in history], ".-", color=LINE)
    best = history[best_epoch - 1][metric_name]
    metric.plot([best_epoch], [best], "o", color=BEST, label=f"best: {best:.4f} in epoch {best_epoch}")
    metric.set_title(f"validation {metric_name}")
    metric.legend(frameon=False)

    trained = np.linspace(0, len(history), 200)
    rate.plot(trained, [config.rate_at(epoch / config.epochs) for epoch in trained], color=LINE)
    rate.set_title("learning rate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))

    for axes in (loss, metric, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")
