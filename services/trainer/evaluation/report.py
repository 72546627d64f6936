"""The evaluation of a bundle: its models beside baselines of the same run, as tables for people and as JSON."""

import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from recstack.bundle import Bundle
from recstack.data import Dataset, temporal_split
from recstack.errors import BundleError
from recstack.models.rankers import load_ranker
from recstack.models.retrievers import load_retriever
from services.trainer.evaluation.ranking import evaluate_ranking
from services.trainer.evaluation.retrieval import evaluate_retrieval


@dataclass(frozen=True, slots=True)
class Section:
    """One table: rows are dataclasses of one kind whose first field is the name; the first row is ours."""

    title: str
    note: str
    rows: Sequence[Any]

    @property
    def columns(self) -> list[str]:
        """Names of the row's fields."""
        return [field.name for field in fields(self.rows[0])]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that an evaluation prints and writes."""

    bundle_version: str
    dataset: str
    machine: str
    sections: tuple[Section, ...]
    seconds: float


def evaluate_bundle(bundle: Bundle, dataset: Dataset, console: Console) -> Report:
    """Evaluate a bundle on the test period of the data it was trained on.

    Raises BundleError when the bundle was trained on other data: its test period would not be unseen.
    """
    trained_on = bundle.manifest.dataset
    if trained_on != dataset.name:
        raise BundleError(
            f"bundle {bundle.manifest.version} was trained on {trained_on}, the data given is {dataset.name}; "
            f"evaluate it with --dataset {trained_on}"
        )
    started = time.perf_counter()
    split = temporal_split(dataset)
    with console.status("retrieval: baselines and figures"):
        retrieval = evaluate_retrieval(load_retriever(bundle.folder / "retrieval"), dataset, split)
    with console.status("ranking: baselines and figures"):
        ranking = evaluate_ranking(load_ranker(bundle.folder / "ranking"), dataset, split)
    return Report(
        bundle_version=bundle.manifest.version,
        dataset=dataset.provenance,
        machine=f"{platform.machine()}, {torch.get_num_threads()} torch threads, torch {torch.__version__}",
        sections=(
            Section(
                "Retrieval, temporal split",
                "Users with a liked item after the cut; truth: the items they liked after it; all unseen items ranked.",
                retrieval,
            ),
            Section(
                "Ranking, temporal split",
                "Each rating after the cut; liked = 4 or more; history: strictly earlier events of the user.",
                ranking,
            ),
        ),
        seconds=time.perf_counter() - started,
    )


def write_report(report: Report, folder: Path, console: Console) -> None:
    """Print the tables, and write evaluation.md and evaluation.json into `folder`."""
    for section in report.sections:
        console.print(_table(section))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.md").write_text(_markdown(report))
    content = {**asdict(report), "sections": [_as_json(section) for section in report.sections]}
    (folder / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n")
    console.print(f"Bundle {report.bundle_version}, {report.seconds:.0f} s on {report.machine}.")
    console.print(f"Written to {folder}/evaluation.md and evaluation.json", highlight=False)


def _table(section: Section) -> Table:
    table = Table(title=f"{section.title}\n[dim]{section.note}[/]", title_justify="left", box=None, pad_edge=False)
    for number, name in enumerate(section.columns):
        table.add_column(_label(name), justify="left" if number == 0 else "right")
    for number, row in enumerate(section.rows):
        cells = [_cell(getattr(row, name)) for name in section.columns]
        table.add_row(*cells, style="bold" if number == 0 else "")
    return table


def _markdown(report: Report) -> str:
    lines = [f"# Evaluation of bundle {report.bundle_version}", "", f"{report.dataset}. {report.machine}.", ""]
    for section in report.sections:
        lines += [f"## {section.title}", "", section.note, ""]
        lines.append("| " + " | ".join(map(_label, section.columns)) + " |")
        lines.append("|---" + "|---:" * (len(section.columns) - 1) + "|")
        for row in section.rows:
            lines.append("| " + " | ".join(_cell(getattr(row, name)) for name in section.columns) + " |")
        lines.append("")
    return "\n".join(lines)


def _as_json(section: Section) -> dict[str, Any]:
    rows = [{k: None if v != v else v for k, v in asdict(row).items()} for row in section.rows]
    return {"title": section.title, "note": section.note, "rows": rows}


def _label(name: str) -> str:
    """`recall_at_100_warm` as "R@100 warm": short, so that the tables fit a terminal of 80 columns."""
    return name.replace("recall_at_", "R@").replace("_at_", "@").replace("_", " ")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return str(value)
