"""The streaming benchmark in small: it runs whole, and leaves nothing behind."""

from pathlib import Path

from rich.console import Console

from tests.bench.streaming import REPORTS, ROWS_PER_GROUP, run, show


def test_memory_is_noted_while_rows_stream(tmp_path: Path) -> None:
    figures = run(4 * ROWS_PER_GROUP, 2_000, 500, tmp_path, Console(quiet=True))
    moments = figures["moments"]
    assert figures["rows"] == 3 * ROWS_PER_GROUP
    assert len(moments) >= REPORTS - 2  # type: ignore[arg-type]
    assert [moment["rows"] for moment in moments] == sorted(moment["rows"] for moment in moments)  # type: ignore[attr-defined]
    show(figures, Console(quiet=True))
