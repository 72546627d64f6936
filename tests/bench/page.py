"""Write docs/benchmarks/results.md from the JSON files beside it: every comparison and goal."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
ORDER = (
    "recommend_floor",
    "stack_of_defaults",
    "ray_serve",
    "scoring",
    "feature_reads",
    "retrieval_scale",
    "training",
    "freshness",
    "memory",
    "growth",
    "tracing_cost",
)
HEAD = """# Results

Made by `python -m tests.bench.page` from the JSON files in this folder; [README.md](README.md) says what each compares,
why that is fair, and what would get to a goal that is missed. *ratio* is what the goal counts.
"""


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def section(name: str, report: dict[str, Any]) -> str:
    """One benchmark: its command, machine and comparisons."""
    lines = [
        f"## {name}: {report['title']}",
        "",
        f"`{report['command']}`, {report['machine']}, revision {report['revision'][:9]}",
        "",
        "| what | unit | ours | other | ratio | goal | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for line in report["comparisons"]:
        goal = "" if line["goal"] is None else f"{'≤' if line['at_most'] else '≥'} {line['goal']:g}"
        reached = {True: "reached", False: "**missed**", None: ""}[line["reached"]]
        other = f"{line['other_name']} {number(line['other'])}"
        cells = [line["what"], line["unit"], number(line["ours"]), other, f"{line['ratio']:.2f}", goal, reached]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(folder: Path) -> str:
    """The whole page, of the benchmarks whose JSON is there."""
    there = [name for name in ORDER if (folder / f"{name}.json").exists()]
    return "\n".join([HEAD, *(section(name, json.loads((folder / f"{name}.json").read_text())) for name in there)])


if __name__ == "__main__":
    (FOLDER / "results.md").write_text(page(FOLDER))
    print(f"Written to {FOLDER / 'results.md'}")
