"""The benchmark harness: who runs when, what counts, and what is written."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.harness import Comparison, Report, interleave
from tests.bench.page import FOLDER, page


def test_sides_take_turns_and_the_first_one_changes() -> None:
    """No side always runs on what another left in the caches."""
    order: list[str] = []
    interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, warm_up=1)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_side_may_bring_its_own_reading() -> None:
    """As one in another process does; warm-up rounds are left out."""
    readings = iter([9.0, 1.0, 2.0, 4.0])
    samples = interleave({"other process": lambda: next(readings)}, rounds=3, warm_up=1)
    assert samples["other process"].seconds == (1.0, 2.0, 4.0)
    assert samples["other process"].milliseconds == 2000.0


@pytest.mark.parametrize(
    ("comparison", "ratio", "reached"),
    [
        (Comparison.faster("read", "ms", 2.0, "peer", 30.0, goal=10), 15.0, True),
        (Comparison.more("rate", "1/s", 50.0, "peer", 20.0, goal=6), 2.5, False),
        (Comparison.over("cost", "ms", 12.0, "floor", 10.0, goal=1.3), 1.2, True),
        (Comparison.over("cost", "ms", 14.0, "floor", 10.0, goal=1.3), 1.4, False),
        (Comparison.more("rate", "1/s", 50.0, "peer", 20.0), 2.5, None),
    ],
)
def test_goals_are_judged_in_their_direction(comparison: Comparison, ratio: float, reached: bool | None) -> None:
    """Faster and more have a least ratio, costs over a floor a greatest one."""
    assert comparison.ratio == pytest.approx(ratio)
    assert comparison.reached is reached


def test_a_report_prints_and_writes_the_same_figures(tmp_path: Path) -> None:
    """And the file says on which machine, at which revision and by which command they were measured."""
    report = Report("reads", [Comparison.faster("500 items", "ms", 1.5, "peer", 15.0, goal=10)], {"rounds": 30})
    out = io.StringIO()
    report.show(Console(file=out, width=140))
    report.write(tmp_path / "reads.json", "python -m tests.bench.reads")
    written = json.loads((tmp_path / "reads.json").read_text())
    assert "10.00×" in out.getvalue()
    assert "reached" in out.getvalue()
    assert written["comparisons"][0]["ratio"] == 10.0
    assert written["rounds"] == 30
    assert {"machine", "revision", "command"} <= written.keys()


def test_the_page_shows_every_figure_of_every_file(tmp_path: Path) -> None:
    """Reached and missed goals alike; and the committed page is what the committed files give."""
    lines = [
        Comparison.faster("reads", "ms", 2.0, "peer", 30.0, goal=10),
        Comparison.more("rate", "1/s", 5000.0, "peer", 2000.0, goal=6),
    ]
    Report("Feature reads", lines).write(tmp_path / "feature_reads.json", "python -m tests.bench.feature_reads")
    text = page(tmp_path)
    assert "| reads | ms | 2 | peer 30 | 15.00 | ≥ 10 | reached |" in text
    assert "| rate | 1/s | 5,000 | peer 2,000 | 2.50 | ≥ 6 | **missed** |" in text
    assert (FOLDER / "results.md").read_text() == page(FOLDER)
