"""The page that an evaluation leaves: tables with their targets, plots, and the same figures as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.plots.draw import draw
from services.trainer.evaluation.summary import Summary
from services.trainer.evaluation.tables import content, markdown


def write_page(summaries: Sequence[Summary], bench: Bench, folder: Path, command: str) -> Path:
    """Write quality.md, quality/quality.json and quality/*.png into `folder`; returns the page."""
    plots = folder / "quality"
    plots.mkdir(parents=True, exist_ok=True)
    for old in plots.glob("*.png"):
        old.unlink()
    captions = draw(summaries, bench, plots)
    facts = _facts(summaries, bench, command)
    figures = {**facts, "protocols": [content(summary) for summary in summaries]}
    (plots / "quality.json").write_text(json.dumps(figures, indent=1) + "\n")
    lines = ["# Quality", "", f"`{command}`", ""]
    lines += [f"- {label.capitalize()}: {fact}" for label, fact in facts.items() if label != "command"]
    lines += [
        "",
        "Bold: models of this repository (model:preset), mean ± standard deviation over seeds. Plain: baselines trained"
        " in the same run. *Italics: figures of others*, by their source. Validation decides everything; test is read"
        " once per configuration.",
        "",
    ]
    for summary in summaries:
        lines += [markdown(summary)]
    lines += ["## Plots", ""]
    for name, caption in captions.items():
        lines += [f"![{caption}](quality/{name})", "", caption, ""]
    page = folder / "quality.md"
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page


def _facts(summaries: Sequence[Summary], bench: Bench, command: str) -> dict[str, str]:
    """Where the figures come from."""
    outcomes = [outcome for summary in summaries for outcome in summary.outcomes]
    seconds = {(outcome.entrant, outcome.key, outcome.seed): outcome.measured.seconds or 0.0 for outcome in outcomes}
    machines = sorted({f"{outcome.machine}, {outcome.threads} torch threads" for outcome in outcomes})
    return {
        "command": command,
        "data": bench.dataset.provenance,
        "machine": "; ".join(machines),
        "code": ", ".join(sorted({outcome.git_revision for outcome in outcomes})),
        "training in all": f"{sum(seconds.values()) / 3600:.1f} hours, summed over runs",
    }
