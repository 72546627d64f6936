"""The plots of an evaluation: learning curves, calibration, recall over K, and slices of the test rows."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.details import Series
from services.trainer.evaluation.outcome import Outcome
from services.trainer.evaluation.plots.shown import Shown
from services.trainer.evaluation.plots.style import line_style, panels, save
from services.trainer.evaluation.summary import Summary


def draw(summaries: Sequence[Summary], bench: Bench, folder: Path) -> dict[str, str]:
    """Write the plots that there is something for into `folder`; returns their captions by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [Shown(summary, bench) for summary in summaries]
    captions = {
        "curves.png": _curves(shown, folder / "curves.png"),
        "calibration.png": _calibration(shown, folder / "calibration.png"),
        "recall.png": _recall(shown, folder / "recall.png"),
    }
    for each in shown:
        name = f"slices-{each.protocol.id}.png"
        captions[name] = _slices(each, folder / name)
    return {name: caption for name, caption in captions.items() if caption}


def _curves(shown: Sequence[Shown], path: Path) -> str:
    """Panels by protocol; a line for each seed of what is trained there."""
    trained = [(each, _learning(each)) for each in shown]
    trained = [(each, learning) for each, learning in trained if learning]
    if not trained:
        return ""
    figure, axes = panels([f"{each.protocol.id}: validation {next(iter(by.values()))[0][0]}" for each, by in trained])
    for panel, (_, learning) in zip(axes, trained, strict=True):
        for number, (name, lines) in enumerate(learning.items()):
            for seed, (_, epochs, values) in enumerate(lines):
                panel.plot(epochs, values, **line_style(number, True), label="" if seed else name, alpha=0.8)
        panel.set_xlabel("epoch")
        panel.legend(frameon=False, fontsize=8)
    save(figure, path)
    return "The validation metric by epoch, a line for each seed."


def _learning(shown: Shown) -> dict[str, list[tuple[str, list[float], list[float]]]]:
    """By entrant and seed: metric, epochs and values, of the entrants that have the protocol's metric by epoch."""
    names = [metric.name for metric in shown.protocol.metrics]
    learning = {}
    for name, outcomes in shown.outcomes.items():
        lines = [line for outcome in outcomes if (line := _line(outcome, names))]
        if lines:
            learning[name] = lines
    first = next(iter(learning.values()), None)
    return {name: lines for name, lines in learning.items() if first and lines[0][0] == first[0][0]}


def _line(outcome: Outcome, metrics: Sequence[str]) -> tuple[str, list[float], list[float]] | None:
    history = outcome.measured.history
    metric = next((name for name in metrics if history and name in history[0]), None)
    return (metric, [row["epoch"] for row in history], [row[metric] for row in history]) if metric else None


def _calibration(shown: Sequence[Shown], path: Path) -> str:
    calibrated = [(each, each.series(lambda details: details.reliability)) for each in shown]
    calibrated = [(each, series) for each, series in calibrated if series]
    if not calibrated:
        return ""
    figure, axes = panels([f"{each.protocol.id}: calibration" for each, _ in calibrated])
    for panel, (each, series) in zip(axes, calibrated, strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        _lines(panel, each, series)
        panel.set_xlabel("predicted probability of a like")
        panel.set_ylabel("share of likes")
    save(figure, path)
    return "Share of likes over predicted probability; on the diagonal, probabilities can be taken at their word."


def _recall(shown: Sequence[Shown], path: Path) -> str:
    ranked = [(each, each.series(lambda details: details.recall)) for each in shown]
    ranked = [(each, series) for each, series in ranked if series]
    if not ranked:
        return ""
    figure, axes = panels([f"{each.protocol.id}: recall@K" for each, _ in ranked])
    for panel, (each, series) in zip(axes, ranked, strict=True):
        _lines(panel, each, series, marked=False)
        panel.set_xscale("log")
        panel.set_xlabel("K")
    save(figure, path)
    return "Share of the true items that is among the first K."


def _slices(shown: Shown, path: Path) -> str:
    names = shown.slice_names
    if not names:
        return ""
    figure, axes = panels([f"{shown.protocol.id}: {shown.slice_metric} by {name}" for name in names])
    for panel, name in zip(axes, names, strict=True):
        _lines(panel, shown, shown.series(lambda details, name=name: details.slices[name]))  # type: ignore[misc]
        panel.set_xlabel(name)
        panel.tick_params(axis="x", labelsize=8)
    save(figure, path)
    return f"{shown.protocol.id}: {shown.slice_metric} by {', '.join(names)}."


def _lines(panel: Axes, shown: Shown, series: dict[str, Series], marked: bool = True) -> None:
    for number, (name, line) in enumerate(series.items()):
        style = line_style(number, shown.is_ours(name))
        panel.plot(line.x, line.y, **style if marked else style | {"marker": ""}, label=name)
    panel.legend(frameon=False, fontsize=8)
