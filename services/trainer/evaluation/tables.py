"""Summaries as tables: for the terminal, as Markdown, and as JSON."""

from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from services.trainer.evaluation.entrant import Kind
from services.trainer.evaluation.summary import PUBLISHED, Cell, Row, Summary, Verdict

TRAINING = ("seeds", "train min", "samples/s")
NAME_WIDTH, FIGURE_WIDTH = 20, 12
"""Characters on a terminal that a name and a figure take at least; more columns than fit would be cut in the middle."""


def terminal(summary: Summary, width: int) -> Group:
    """The table with its targets; ours bold, published figures dim. Of the columns, the first that fit into `width`."""
    protocol, fit = summary.protocol, max(3, (width - NAME_WIDTH) // FIGURE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold", min_width=18)
    for label in _labels(summary)[:fit]:
        table.add_column(label, justify="right", overflow="fold", max_width=FIGURE_WIDTH - 3)
    styles = {Kind.OURS: "bold", PUBLISHED: "dim"}
    for row in summary.rows:
        table.add_row(escape(_name(row)), *_cells(row, summary)[:fit], style=styles.get(row.kind, ""))
    colours = {True: "green", False: "yellow"}
    return Group(
        f"[bold]{protocol.id}  {escape(protocol.title)}[/]",
        f"[dim]{escape(protocol.note)}[/]",
        table,
        *(f"[{colours[verdict.reached]}]{escape(sentence(verdict))}[/]" for verdict in summary.verdicts),
        "",
    )


def markdown(summary: Summary) -> str:
    """The table with its targets as Markdown; ours bold, published figures in italics."""
    protocol = summary.protocol
    lines = [f"## {protocol.id}: {protocol.title}", "", protocol.note, ""]
    lines.append("| | " + " | ".join(_labels(summary)) + " |")
    lines.append("|---" + "|---:" * len(_labels(summary)) + "|")
    marks = {Kind.OURS: "**", PUBLISHED: "*"}
    for row in summary.rows:
        mark = marks.get(row.kind, "")
        lines.append(f"| {mark}{_name(row)}{mark} | " + " | ".join(_cells(row, summary)) + " |")
    lines.append("")
    lines += [f"- {row.name}: {row.note}." for row in summary.rows if row.note and row.kind != PUBLISHED]
    lines += [f"- {sentence(verdict)}." for verdict in summary.verdicts]
    return "\n".join(lines).rstrip() + "\n"


def content(summary: Summary) -> dict[str, Any]:
    """The table as plain content for JSON."""
    return {
        "protocol": summary.protocol.id,
        "title": summary.protocol.title,
        "note": summary.protocol.note,
        "rows": [
            {
                "name": row.name,
                "kind": row.kind,
                "seeds": row.seeds,
                "note": row.note,
                "metrics": {name: {"mean": cell.mean, "sd": cell.spread} for name, cell in row.cells.items()},
            }
            for row in summary.rows
        ],
        "targets": [
            {
                "entrants": verdict.target.entrants,
                "metric": verdict.metric.name,
                "bound": verdict.bound,
                "best": verdict.best,
                "value": verdict.value,
                "reached": verdict.reached,
            }
            for verdict in summary.verdicts
        ],
    }


def sentence(verdict: Verdict) -> str:
    """For example "target AUC ≥ 0.81 (dien:full): missed by 0.0012"."""
    sign = "≥" if verdict.metric.higher_is_better else "≤"
    who = verdict.best or ", ".join(verdict.target.entrants)
    target = f"target {verdict.metric.label} {sign} {_number(verdict.bound)} ({who})"
    if verdict.value is None:
        return f"{target}: not measured"
    if verdict.reached:
        return f"{target}: reached with {_number(verdict.value)}"
    return f"{target}: missed by {_number(abs(verdict.bound - verdict.value))}"


def _labels(summary: Summary) -> list[str]:
    return [metric.label for metric in _shown(summary)] + list(TRAINING)


def _shown(summary: Summary) -> list[Any]:
    """Columns that anybody has a figure in."""
    return [metric for metric in summary.protocol.metrics if any(metric.name in row.cells for row in summary.rows)]


def _name(row: Row) -> str:
    return f"{row.name} ({row.note})" if row.kind == PUBLISHED else row.name


def _cells(row: Row, summary: Summary) -> list[str]:
    figures = [_figure(row.cells.get(metric.name)) for metric in _shown(summary)]
    seconds, speed = row.cells.get("seconds"), row.cells.get("samples_per_second")
    runs = str(row.seeds) if seconds else ""
    return [*figures, runs, f"{seconds.mean / 60:.1f}" if seconds else "", f"{speed.mean:,.0f}" if speed else ""]


def _figure(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return _number(cell.mean) + (f" ±{cell.spread:.4f}".replace("±0.", "±.") if cell.spread is not None else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"
