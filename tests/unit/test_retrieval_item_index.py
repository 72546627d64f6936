"""Index and top-K against brute force, with and without a mask, exact and lists."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recstack.config import RetrievalSettings
from recstack.errors import BundleError
from recstack.models.retrieval_index import (
    EXACT_ITEMS,
    TARGET_K,
    TARGET_RECALL,
    IndexKind,
    IndexRule,
    build_index,
    bytes_per_item,
    load_index,
    save_index,
)
from services.retrieval import lists_index
from services.retrieval.item_index import ItemIndex, item_index
from services.retrieval.top_k import top_k


def unit_vectors(count: int, dimensions: int = 8, seed: int = 0) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def grid_index(count: int, seed: int) -> ItemIndex:
    """Vectors of small integers: dot products are exact, and many tie."""
    flat = faiss.IndexFlatIP(4)
    flat.add(np.random.default_rng(seed).integers(-2, 3, (count, 4)).astype(np.float32))
    return item_index(flat)


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
    truth = index.vectors(np.arange(len(allowed))) @ query

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
    truth_QI = queries_QD @ index.vectors(np.arange(len(allowed))).T

    rows, similarities, query_of = index.search_any(queries_QD, k, allowed)

    assert rows.tolist() == top_k(truth_QI.max(axis=0), k, allowed).tolist()
    np.testing.assert_array_equal(similarities, truth_QI.max(axis=0)[rows])
    np.testing.assert_array_equal(query_of, truth_QI.argmax(axis=0)[rows])


def near(queries: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors in clumps, as those of a trained tower: `count` around each query."""
    values = np.repeat(queries, count, axis=0)
    values = values + 0.3 * np.random.default_rng(seed).normal(size=values.shape)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


CENTRES = unit_vectors(60, seed=1)
CLUMPED = near(CENTRES, 500, seed=2)
MANY = len(CLUMPED)


@pytest.fixture(scope="module", params=[IndexKind.LISTS, IndexKind.LISTS8])
def lists(request: pytest.FixtureRequest) -> ItemIndex:
    return item_index(build_index(CLUMPED, request.param))


def genre(share: float) -> NDArray[np.bool_]:
    """Only whole clumps, with most of a user's neighbourhood not among them."""
    return np.repeat(np.random.default_rng(3).random(len(CENTRES)) < share, 500)


FILTERS = {
    "none": np.ones(MANY, np.bool_),
    "seen": np.arange(MANY) % 400 > 0,
    "a half": np.random.default_rng(3).random(MANY) < 0.5,
    "a half of the genres": genre(0.5),
    "one in a hundred": np.random.default_rng(3).random(MANY) < 0.01,
    "one genre": genre(0.02),
    "fewer than asked": np.arange(MANY) < 30,
    "one": np.arange(MANY) == 7,
    "nothing": np.zeros(MANY, np.bool_),
}


@pytest.mark.parametrize("few", [0, lists_index.FEW_ITEMS])
@pytest.mark.parametrize("name", FILTERS)
def test_lists_under_any_filter_fill_k_with_near_exact_neighbours(
    lists: ItemIndex, name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists_index, "FEW_ITEMS", few)
    allowed = FILTERS[name]
    found = wanted = 0
    for query in near(CENTRES[:20], 1, seed=4):
        rows, similarities = lists.search(query, 100, allowed)
        expected = top_k(CLUMPED @ query, 100, allowed)
        assert len(rows) == len(set(rows.tolist())) == len(expected)
        assert allowed[rows].all()
        assert (np.diff(similarities) <= 0).all()
        np.testing.assert_allclose(similarities, CLUMPED[rows] @ query, atol=0.02)
        found += len(np.intersect1d(rows, expected))
        wanted += len(expected)
    assert found >= 0.96 * wanted


def test_as_many_lists_are_looked_into_as_the_queries_need() -> None:
    def recall(lists: int) -> float:
        _, found_QK = index.search(queries, TARGET_K, params=faiss.SearchParametersIVF(nprobe=lists))
        return np.mean([len(np.intersect1d(*rows)) for rows in zip(found_QK, nearest_QK, strict=True)]) / TARGET_K

    queries = near(CENTRES, 2, seed=5)
    index = build_index(CLUMPED, IndexKind.LISTS, queries)
    nearest_QK = np.argsort(-(queries @ CLUMPED.T), axis=1)[:, :TARGET_K]
    assert recall(index.nprobe) >= TARGET_RECALL > recall(index.nprobe - 1)
    assert index.nprobe < index.nlist / 4


def test_lists_merge_queries_like_the_exact_index(lists: ItemIndex) -> None:
    allowed = FILTERS["a half"]
    queries_QD = CLUMPED[[10, 2000, 3000]]
    exact = item_index(build_index(CLUMPED, IndexKind.EXACT))

    rows, similarities, query_of = lists.search_any(queries_QD, 50, allowed)
    expected_rows, _, _ = exact.search_any(queries_QD, 50, allowed)

    assert len(rows) == len(set(rows.tolist())) == 50
    assert len(np.intersect1d(rows, expected_rows)) >= 45
    assert (np.diff(similarities) <= 0).all()
    np.testing.assert_allclose(similarities, (queries_QD @ CLUMPED[rows].T).max(axis=0), atol=0.02)
    assert (query_of == (queries_QD @ CLUMPED[rows].T).argmax(axis=0)).mean() > 0.9


def test_vectors_come_back_by_row(lists: ItemIndex) -> None:
    rows = np.array([5, 29_000, 5, 0])
    np.testing.assert_allclose(lists.vectors(rows), CLUMPED[rows], atol=0.02)
    assert (len(lists), lists.dimensions) == CLUMPED.shape


@pytest.mark.parametrize(
    ("items", "limits", "kind"),
    [
        (EXACT_ITEMS, {}, IndexKind.EXACT),
        (EXACT_ITEMS + 1, {}, IndexKind.LISTS),
        (100, {"exact_items": 99}, IndexKind.LISTS),
        (100, {"exact_items": 99, "max_bytes": 100 * (64 * 4 + 16)}, IndexKind.LISTS),
        (100, {"exact_items": 99, "max_bytes": 100 * (64 * 4 + 16) - 1}, IndexKind.LISTS8),
        (100_000_000, {}, IndexKind.LISTS8),
    ],
)
def test_the_rule_chooses_by_items_and_memory(items: int, limits: dict[str, int], kind: IndexKind) -> None:
    assert IndexRule(**limits).choose(items, 64) is kind


def test_the_settings_begin_with_the_rule() -> None:
    settings, rule = RetrievalSettings(), IndexRule()
    assert (settings.exact_items, settings.max_index_bytes) == (rule.exact_items, rule.max_bytes)


@pytest.mark.parametrize("kind", IndexKind)
def test_an_index_takes_the_memory_that_the_rule_counts_on(kind: IndexKind) -> None:
    index = build_index(CLUMPED, kind)
    fixed = 4 * index.nlist * index.d if kind != IndexKind.EXACT else 0  # the centres
    size = len(faiss.serialize_index(index)) - fixed
    assert size / MANY == pytest.approx(bytes_per_item(kind, index.d), rel=0.1)


@pytest.mark.parametrize("kind", IndexKind)
def test_a_saved_index_answers_the_same(tmp_path: Path, kind: IndexKind) -> None:
    index = build_index(unit_vectors(400), kind)
    save_index(index, tmp_path / "index.faiss")
    loaded = item_index(load_index(tmp_path / "index.faiss"))
    allowed = np.arange(400) % 3 > 0
    query = unit_vectors(1, seed=9)[0]
    assert loaded.search(query, 20, allowed)[0].tolist() == item_index(index).search(query, 20, allowed)[0].tolist()


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
        build_index(vectors, IndexKind.EXACT)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(b"not an index")
    with pytest.raises(BundleError, match="not a readable faiss index"):
        load_index(tmp_path / "index.faiss")
    with pytest.raises(BundleError, match="not a readable faiss index"):
        load_index(tmp_path / "missing.faiss")


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    faiss.write_index(faiss.IndexHNSWFlat(8, 4), str(tmp_path / "index.faiss"))
    with pytest.raises(BundleError, match="IndexHNSWFlat, which is not served; publish the bundle again"):
        load_index(tmp_path / "index.faiss")
