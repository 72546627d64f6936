"""The retrieval benchmark: its vectors, its kinds and its parts, on a small catalogue."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from rich.console import Console

from tests.bench.index_kinds import KINDS, build, efforts
from tests.bench.item_vectors import clustered_items, users_of
from tests.bench.retrieval_filters import SHARES, filter_table
from tests.bench.retrieval_kinds import COLUMNS, RECALL, kind_table
from tests.bench.retrieval_service import service_comparisons

ITEMS, DIMENSIONS = 10_000, 16


def test_vectors_are_clustered_and_the_same_every_time() -> None:
    items_ID = clustered_items(2000, DIMENSIONS)
    np.testing.assert_array_equal(items_ID, clustered_items(2000, DIMENSIONS))
    np.testing.assert_allclose(np.linalg.norm(items_ID, axis=1), 1.0, atol=1e-5)
    likeness_II = items_ID @ items_ID.T
    np.fill_diagonal(likeness_II, -1)
    assert np.median(likeness_II.max(axis=1)) > 0.85 > 0.2 > np.abs(np.median(likeness_II))


@pytest.mark.parametrize("kind", KINDS)
def test_more_effort_finds_more_and_enough(kind: str) -> None:
    items_ID = clustered_items(ITEMS, DIMENSIONS)
    users_QD = users_of(items_ID, 50)
    built = build(kind, items_ID, users_of(items_ID, 50, seed=2))
    _, nearest_QK = faiss.knn(users_QD, items_ID, 20, metric=faiss.METRIC_INNER_PRODUCT)
    steps = efforts(kind, built.index)
    least, most = (built.recall(users_QD, nearest_QK, step) for step in (steps[0], steps[-1]))
    assert least <= most
    assert most >= 0.93


def test_a_built_index_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.index_kinds.LARGE", 1000)
    items_ID = clustered_items(1000, DIMENSIONS)
    first = build("lists", items_ID, items_ID[:10], tmp_path)
    again = build("lists", items_ID, items_ID[:10], tmp_path)
    assert (again.build_seconds, again.bytes) == (first.build_seconds, first.bytes)
    assert again.index.search(items_ID[:3], 5)[1].tolist() == first.index.search(items_ID[:3], 5)[1].tolist()


def test_all_parts_run_and_say_what_they_measured(tmp_path: Path) -> None:
    console = Console(quiet=True)
    rows = kind_table(console, ITEMS, DIMENSIONS, 3, tmp_path)
    assert [row["kind"] for row in rows if row["picked"]] == ["exact"]
    assert {row["kind"] for row in rows} == {*KINDS, "lists, as served"}
    for row in rows:
        assert set(COLUMNS) <= set(row)
        assert row["recall@100"] >= (0.9 if row["kind"] == "lists8" else RECALL)

    filtered = filter_table(console, ITEMS, DIMENSIONS, 3, tmp_path)
    assert [row["share"] for row in filtered] == [share for share in SHARES for _ in range(2)]
    assert min(row["recall@100"] for row in filtered) > 0.9

    comparisons, details = service_comparisons(console, ITEMS, DIMENSIONS, 3, tmp_path)
    assert details["recall@100"] > 0.9
    assert comparisons[0].goal == 1.5
    assert all(comparison.ours > 0 and comparison.other > 0 for comparison in comparisons)
