"""Metrics of a full ranking of the catalogue: hit rate, recall, NDCG and MRR at K, coverage. No sampled negatives.

Krichene and Rendle, On Sampled Metrics for Item Recommendation, 2020, is why everything is ranked.

Shape legend: Q cases (users), I items, K ranks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.errors import InvalidRequestError

EXCLUDED = -np.inf
"""Score of an item that must not be recommended."""


def rank_unseen(scores_QI: NDArray[np.float32], seen: csr_matrix, depth: int) -> NDArray[np.int64]:
    """Item rows [Q, K] of the best unseen items, best first, K = min(depth, I); ties in item order.

    Where a user has fewer unseen items than K, seen ones follow at the end.
    """
    if scores_QI.shape != seen.shape:
        raise InvalidRequestError(f"scores are {scores_QI.shape}, the seen items {seen.shape}; both must be [Q, I]")
    unseen_QI = np.array(scores_QI, np.float32)
    unseen_QI[seen.nonzero()] = EXCLUDED
    depth = min(depth, unseen_QI.shape[1])
    ranked_QI: NDArray[np.int64] = np.argsort(-unseen_QI, axis=1, kind="stable")
    best_QK: NDArray[np.int64] = ranked_QI[:, :depth]
    return best_QK


def hits(ranked_QK: NDArray[np.int64], truth: csr_matrix) -> NDArray[np.bool_]:
    """[Q, K] whether each ranked item is true."""
    cases = np.arange(len(ranked_QK))[:, None]
    found: NDArray[np.bool_] = truth[cases, ranked_QK].toarray().astype(np.bool_)
    return found


def truth_counts(truth: csr_matrix) -> NDArray[np.int64]:
    """[Q] how many true items each case has."""
    counts_Q: NDArray[np.int64] = np.diff(truth.indptr).astype(np.int64)
    return counts_Q


def hit_rate(hits_QK: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """[Q] 1 where any true item is among the first k."""
    found_Q: NDArray[np.int64] = hits_QK[:, :k].sum(axis=1)
    return (found_Q > 0).astype(np.float64)


def recall(hits_QK: NDArray[np.bool_], counts_Q: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """[Q] share of all true items that is among the first k (below 1 by nature where there are more than k)."""
    found: NDArray[np.float64] = hits_QK[:, :k].sum(axis=1) / counts_Q
    return found


def ndcg(hits_QK: NDArray[np.bool_], counts_Q: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """[Q] normalised discounted cumulative gain of the first k with binary relevance.

    Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, 2002: discount 1 / log2(rank + 1), over
    the gain of the best possible list.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    width = min(k, hits_QK.shape[1])
    gains = hits_QK[:, :width] @ discounts[:width]
    best = np.cumsum(discounts)[np.minimum(counts_Q, k) - 1]
    normalised: NDArray[np.float64] = gains / best
    return normalised


def reciprocal_rank(hits_QK: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """[Q] 1 / rank of the first true item; 0 where it is not among the first k."""
    first = hits_QK[:, :k].argmax(axis=1)
    return np.where(hits_QK[:, :k].any(axis=1), 1.0 / (first + 1), 0.0)


def coverage(ranked_QK: NDArray[np.int64], k: int, num_items: int) -> float:
    """Share of the catalogue that is among the first k of at least one case."""
    return len(np.unique(ranked_QK[:, :k])) / num_items


def retrieval_metrics(
    ranked_QK: NDArray[np.int64],
    truth: csr_matrix,
    recall_at: Sequence[int] = (20, 100, 500),
    top: int = 20,
) -> dict[str, float]:
    """Means over cases: recall@k for each k, and hit rate, NDCG, MRR and coverage at `top`.

    Every case needs a true item: recall is undefined without one.
    """
    counts_Q = truth_counts(truth)
    if len(counts_Q) == 0 or counts_Q.min() == 0:
        raise InvalidRequestError("a case has no true item, or there are no cases; leave such users out")
    hits_QK = hits(ranked_QK, truth)
    metrics = {f"recall@{k}": float(recall(hits_QK, counts_Q, k).mean()) for k in recall_at}
    metrics[f"hit_rate@{top}"] = float(hit_rate(hits_QK, top).mean())
    metrics[f"ndcg@{top}"] = float(ndcg(hits_QK, counts_Q, top).mean())
    metrics[f"mrr@{top}"] = float(reciprocal_rank(hits_QK, top).mean())
    metrics[f"coverage@{top}"] = coverage(ranked_QK, top, truth.shape[1])
    return metrics
