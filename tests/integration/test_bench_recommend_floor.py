"""The floor benchmark runs with no data at hand and charges every process of the stack."""

import io

from rich.console import Console

from tests.bench.recommend_floor import TRAFFIC, run


def test_short_run_reports_ours_and_the_floor_for_each_traffic() -> None:
    """Both sides have cost something, whatever it was, and the floor knows all its parts."""
    report = run(Console(file=io.StringIO(), width=140), short=True)
    assert [line.what for line in report.comparisons] == [f"plain, {traffic}" for traffic in TRAFFIC]
    for line in report.comparisons:
        assert line.ours > 0 < line.other
        parts = report.details[line.what]
        assert set(parts["ours_ms"]) == {"redis", "feature-store", "retrieval", "ranking", "gateway"}
        assert len(parts["floor_ms"]) == 2 + 2 + 7  # arithmetic, Redis, RPC ends
