"""The benchmark of feature reads runs, and refuses to compare sides that read different values."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from recstack.features.schema import MAX_GENRES

pytest.importorskip("feast", reason="needs the peers: make peers")

from services.gateway.pipeline.candidates import ItemColumns
from tests.bench import feature_reads


def test_a_short_run_compares_wall_and_cpu_time_of_both_questions():
    report = feature_reads.run(Console(quiet=True), short=True)

    assert [line.unit for line in report.comparisons] == ["ms wall", "ms CPU"] * 2
    assert [line.goal for line in report.comparisons] == [feature_reads.GOAL, None, None, None]
    assert all(line.ours > 0 and line.other > 0 for line in report.comparisons)
    items, user = report.details["milliseconds"].values()
    assert set(items) == {"ours", "Feast", "Feast, precomputed"}
    assert set(user) == {"ours", "Feast"}


def test_a_difference_in_any_item_feature_stops_the_bench():
    ours = replace(
        ItemColumns.unknown(2),
        year=np.array([1999, 2001], np.int16),
        genres=np.tile(np.arange(MAX_GENRES, dtype=np.uint8), (2, 1)),
        title=np.array(["Amélie".encode(), b"Up"]),
    )
    feast = {"year": [1999, 2001], "genres": [list(range(MAX_GENRES))] * 2, "title": ["Amélie", "Up"]}

    feature_reads.check_items(ours, feast)
    for name, wrong in {"year": [1999, 2002], "genres": [[0] * MAX_GENRES] * 2, "title": ["Amélie", "Down"]}.items():
        with pytest.raises(AssertionError):
            feature_reads.check_items(ours, feast | {name: wrong})
