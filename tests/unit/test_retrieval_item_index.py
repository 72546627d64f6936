"""Index and top-K against brute force, with and without a mask, exact and graph."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recstack.errors import BundleError
from recstack.models.retrieval_index import build_index, load_index, save_index
from services.retrieval.item_index import ItemIndex
from services.retrieval.top_k import top_k


def unit_vectors(count: int, dimensions: int = 8, seed: int = 0) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def grid_index(count: int, seed: int) -> ItemIndex:
    """Vectors of small integers: dot products are exact, and many tie."""
    flat = faiss.IndexFlatIP(4)
    flat.add(np.random.default_rng(seed).integers(-2, 3, (count, 4)).astype(np.float32))
    return ItemIndex(flat)


masks = st.lists(st.booleans(), min_size=1, max_size=300).map(lambda bits: np.array(bits, np.bool_))


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=60), st.integers(1, 70))
def test_top_k_is_a_sort_by_score_then_row(items: list[tuple[int, bool]], k: int) -> None:
    scores = np.array([score for score, _ in items], np.float32)
    allowed = np.array([keep for _, keep in items], np.bool_)
    expected = sorted((row for row, (_, keep) in enumerate(items) if keep), key=lambda row: (-items[row][0], row))
    assert top_k(scores, k, allowed).tolist() == expected[:k]


@given(masks, st.integers(1, 320), st.integers(0, 2**16))
def test_filtered_search_is_exact_and_fills_k(allowed: NDArray[np.bool_], k: int, seed: int) -> None:
    index = grid_index(len(allowed), seed)
    query = np.random.default_rng(seed + 1).integers(-2, 3, 4).astype(np.float32)
    truth = index.vectors @ query

    rows, similarities = index.search(query, k, allowed)

    assert len(rows) == len(set(rows.tolist())) == min(k, int(allowed.sum()))
    assert allowed[rows].all()
    np.testing.assert_array_equal(similarities, truth[rows])
    np.testing.assert_array_equal(similarities, truth[top_k(truth, k, allowed)])
    np.testing.assert_array_equal(np.lexsort((rows, -similarities)), np.arange(len(rows)))


@given(masks, st.integers(1, 320), st.integers(1, 5), st.integers(0, 2**16))
def test_search_any_takes_the_best_query_of_each_item(
    allowed: NDArray[np.bool_], k: int, queries: int, seed: int
) -> None:
    index = grid_index(len(allowed), seed)
    queries_QD = np.random.default_rng(seed + 1).integers(-2, 3, (queries, 4)).astype(np.float32)
    truth_QI = queries_QD @ index.vectors.T

    rows, similarities, query_of = index.search_any(queries_QD, k, allowed)

    assert rows.tolist() == top_k(truth_QI.max(axis=0), k, allowed).tolist()
    np.testing.assert_array_equal(similarities, truth_QI.max(axis=0)[rows])
    np.testing.assert_array_equal(query_of, truth_QI.argmax(axis=0)[rows])


@pytest.fixture(scope="module")
def graph() -> ItemIndex:
    return ItemIndex(build_index(unit_vectors(3000), exact_items=0))


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05, 0.002, 0.0])
def test_a_graph_under_any_filter_fills_k_with_near_exact_neighbours(graph: ItemIndex, share: float) -> None:
    rng = np.random.default_rng(3)
    allowed = rng.random(len(graph)) < share
    found = wanted = 0
    for query in unit_vectors(20, seed=4):
        rows, similarities = graph.search(query, 100, allowed)
        expected = top_k(graph.vectors @ query, 100, allowed)
        assert len(rows) == len(expected)
        assert allowed[rows].all()
        assert (np.diff(similarities) <= 0).all()
        found += len(np.intersect1d(rows, expected))
        wanted += len(expected)
    assert found >= 0.98 * wanted


def test_a_graph_merges_queries_like_the_exact_index(graph: ItemIndex) -> None:
    allowed = np.random.default_rng(5).random(len(graph)) < 0.5
    queries_QD = graph.vectors[[10, 20, 30]]
    exact = ItemIndex(build_index(np.array(graph.vectors)))

    rows, similarities, query_of = graph.search_any(queries_QD, 50, allowed)
    expected_rows, _, _ = exact.search_any(queries_QD, 50, allowed)

    assert len(rows) == len(set(rows.tolist())) == 50
    assert len(np.intersect1d(rows, expected_rows)) >= 48
    np.testing.assert_allclose(similarities, (queries_QD @ graph.vectors[rows].T).max(axis=0), atol=1e-6)
    np.testing.assert_array_equal(query_of, (queries_QD @ graph.vectors[rows].T).argmax(axis=0))


def test_the_rule_chooses_the_index_by_size() -> None:
    vectors = unit_vectors(50)
    assert not ItemIndex(build_index(vectors, exact_items=50)).approximate
    assert ItemIndex(build_index(vectors, exact_items=49)).approximate


@pytest.mark.parametrize("exact_items", [0, 1000])
def test_a_saved_index_answers_the_same(tmp_path: Path, exact_items: int) -> None:
    index = build_index(unit_vectors(200), exact_items=exact_items)
    save_index(index, tmp_path / "index.faiss")
    loaded = ItemIndex(load_index(tmp_path / "index.faiss"))
    allowed = np.arange(200) % 3 > 0
    query = unit_vectors(1, seed=9)[0]
    assert loaded.search(query, 20, allowed)[0].tolist() == ItemIndex(index).search(query, 20, allowed)[0].tolist()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((3, 4), np.float32), "item vector 0 has length 2.0"),
        (np.array([[1, 0], [np.nan, 0]], np.float32), "item vector 1 has length nan"),
        (np.eye(3), "float64"),
        (np.empty((0, 4), np.float32), "at least one item"),
    ],
)
def test_vectors_that_cannot_be_cosines_are_refused(vectors: NDArray[np.float32], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        build_index(vectors)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(b"not an index")
    with pytest.raises(BundleError, match="not a readable faiss index"):
        load_index(tmp_path / "index.faiss")
    with pytest.raises(BundleError, match="not a readable faiss index"):
        load_index(tmp_path / "missing.faiss")
