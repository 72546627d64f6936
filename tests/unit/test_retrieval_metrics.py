"""Retrieval metrics against an independent, slow definition of each, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, recall_score, top_k_accuracy_score

from recstack.errors import InvalidRequestError
from recstack.evaluation.retrieval_metrics import (
    coverage,
    hit_rate,
    hits,
    ndcg,
    rank_unseen,
    recall,
    reciprocal_rank,
    retrieval_metrics,
    truth_counts,
)


def random_case(seed: int, cases: int = 7, items: int = 23) -> tuple[NDArray[np.float32], csr_matrix, csr_matrix]:
    """Scores with ties, seen items, and at least one true unseen item per case."""
    random = np.random.default_rng(seed)
    scores_QI = random.integers(0, 8, (cases, items)).astype(np.float32)
    seen_QI = random.random((cases, items)) < 0.3
    truth_QI = (random.random((cases, items)) < 0.2) & ~seen_QI
    seen_QI[:, 0], truth_QI[:, 0] = False, True
    return scores_QI, csr_matrix(seen_QI.astype(np.int8)), csr_matrix(truth_QI.astype(np.int8))


def brute_force(ranked: list[int], true: set[int], k: int) -> dict[str, float]:
    found = [rank for rank, item in enumerate(ranked[:k], start=1) if item in true]
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(true), k) + 1))
    return {
        "hit_rate": float(bool(found)),
        "recall": len(found) / len(true),
        "ndcg": sum(1 / math.log2(rank + 1) for rank in found) / best,
        "reciprocal_rank": 1 / found[0] if found else 0.0,
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 10, 40]))
def test_metrics_equal_their_definitions(seed: int, k: int) -> None:
    scores_QI, seen, truth = random_case(seed)
    ranked_QK = rank_unseen(scores_QI, seen, 23)
    hits_QK, counts_Q = hits(ranked_QK, truth), truth_counts(truth)
    ours = {
        "hit_rate": hit_rate(hits_QK, k),
        "recall": recall(hits_QK, counts_Q, k),
        "ndcg": ndcg(hits_QK, counts_Q, k),
        "reciprocal_rank": reciprocal_rank(hits_QK, k),
    }
    for case in range(len(scores_QI)):
        expected = brute_force(ranked_QK[case].tolist(), set(truth[case].indices.tolist()), k)
        assert {name: values[case] for name, values in ours.items()} == pytest.approx(expected)


def test_ndcg_equals_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores_QI = random.permuted(np.tile(np.arange(50, dtype=np.float32), (9, 1)), axis=1)  # no ties
    truth_QI = random.random((9, 50)) < 0.3
    nothing, truth = csr_matrix((9, 50), dtype=np.int8), csr_matrix(truth_QI.astype(np.int8))
    hits_QK = hits(rank_unseen(scores_QI, nothing, 50), truth)
    for k in (5, 20, 50):
        assert ndcg(hits_QK, truth_counts(truth), k).mean() == pytest.approx(ndcg_score(truth_QI, scores_QI, k=k))


def test_recall_equals_scikit_learn() -> None:
    scores_QI, _, truth = random_case(4)
    scores_QI = scores_QI + np.linspace(0, 0.5, scores_QI.shape[1], dtype=np.float32)  # no ties
    hits_QK = hits(rank_unseen(scores_QI, csr_matrix(truth.shape, dtype=np.int8), 23), truth)
    for k in (3, 10, 23):
        top_QI = scores_QI >= np.sort(scores_QI, axis=1)[:, -k, None]
        expected = recall_score(truth.toarray(), top_QI.astype(int), average="samples")
        assert recall(hits_QK, truth_counts(truth), k).mean() == pytest.approx(expected)


def test_hit_rate_and_reciprocal_rank_of_one_true_item_equal_scikit_learn() -> None:
    random = np.random.default_rng(1)
    scores_QI = random.permuted(np.tile(np.arange(30, dtype=np.float32), (40, 1)), axis=1)  # no ties
    true = random.integers(0, 30, 40)
    truth = csr_matrix((np.ones(40, np.int8), (np.arange(40), true)), (40, 30))
    hits_QK = hits(rank_unseen(scores_QI, csr_matrix((40, 30), dtype=np.int8), 30), truth)
    for k in (1, 10):
        expected = top_k_accuracy_score(true, scores_QI, k=k, labels=np.arange(30))
        assert hit_rate(hits_QK, k).mean() == pytest.approx(expected)
    # With one true item, the mean precision at it is the reciprocal of its rank.
    expected = label_ranking_average_precision_score(truth.toarray(), scores_QI)
    assert reciprocal_rank(hits_QK, 30).mean() == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranking_holds_every_item_once_unseen_first_best_first(seed: int) -> None:
    scores_QI, seen, _ = random_case(seed)
    for case, ranked in enumerate(rank_unseen(scores_QI, seen, 23).tolist()):
        assert sorted(ranked) == list(range(23))
        hidden = set(seen[case].indices.tolist())
        unseen = [item for item in ranked if item not in hidden]
        assert ranked[: len(unseen)] == unseen
        assert unseen == sorted(unseen, key=lambda item: (-scores_QI[case, item], item))


def test_ranking_leaves_the_scores_alone() -> None:
    scores_QI, seen, _ = random_case(1)
    before = scores_QI.copy()
    rank_unseen(scores_QI, seen, 5)
    np.testing.assert_array_equal(scores_QI, before)


def test_a_perfect_ranking_scores_one() -> None:
    _, _, truth = random_case(3)
    nothing = csr_matrix(truth.shape, dtype=np.int8)
    metrics = retrieval_metrics(rank_unseen(truth.toarray().astype(np.float32), nothing, 23), truth, recall_at=(23,))
    assert metrics["recall@23"] == metrics["ndcg@20"] == metrics["hit_rate@20"] == metrics["mrr@20"] == 1.0


def test_coverage_counts_distinct_items_of_the_top() -> None:
    assert coverage(np.array([[0, 1, 9], [1, 2, 9]]), 2, 10) == pytest.approx(0.3)


def test_cases_without_truth_and_unequal_shapes_are_refused() -> None:
    scores_QI, seen, truth = random_case(0)
    with pytest.raises(InvalidRequestError, match="no true item"):
        retrieval_metrics(rank_unseen(scores_QI, seen, 5), csr_matrix(truth.shape, dtype=np.int8))
    with pytest.raises(InvalidRequestError, match="both must be"):
        rank_unseen(scores_QI[:, :5], seen, 5)
