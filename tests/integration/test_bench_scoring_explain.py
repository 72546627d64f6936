"""The benchmark of Ranks beside Explain runs, and reads both kinds of phase."""

import io

from rich.console import Console

from tests.bench.scoring_explain import PERCENTILES, run


def test_short_run_reports_ranks_alone_and_beside_attributions() -> None:
    report = run(Console(file=io.StringIO(), width=140), short=True)
    assert [line.what for line in report.comparisons] == [
        f"{what}, p{percent}" for what in ("wall", "queue") for percent in PERCENTILES
    ]
    walls, queues = report.comparisons[: len(PERCENTILES)], report.comparisons[len(PERCENTILES) :]
    assert all(min(line.ours, line.other) > 0 for line in walls)
    assert all(queue.ours < wall.ours and queue.other < wall.other for queue, wall in zip(queues, walls, strict=True))
    assert report.details["attributions ms"] > 0
