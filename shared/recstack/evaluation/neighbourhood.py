"""Item-based neighbourhood model of labels: what is expected of a pair plus what the user thought of similar items.

Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, 2001, on residuals, with cosine similarity
shrunk by the size of its support.
"""

import numpy as np
from scipy import sparse

from recstack.evaluation.labelled_events import LabelledEvents, Rows, Scores

NEIGHBOURS = 60
SHRINKAGE = 30.0
"""Users in common at which a similarity counts half."""


def opinions(known: LabelledEvents, expected: Scores, user: Rows, item: Rows) -> Scores:
    """What to add to the expected label of each asked pair: the user's mean residual on its neighbours, by similarity.

    expected [N]: what the labels of `known` were expected to be. A user without events gets 0.
    """
    shape = (known.num_users, known.num_items)
    residuals = sparse.csr_matrix((known.label - expected, (known.user, known.item)), shape)
    rated = sparse.csr_matrix((np.ones(len(known.item), np.float32), (known.user, known.item)), shape)
    near = _neighbours(residuals, rated)
    asked, row = np.unique(user, return_inverse=True)
    opinion = (residuals[asked] @ near.T).toarray()
    weight = (rated[asked] @ near.T).toarray() + 1.0
    return np.asarray(opinion[row, item] / weight[row, item])


def _neighbours(residuals: sparse.csr_matrix, rated: sparse.csr_matrix) -> sparse.csr_matrix:
    """[I, I] similarity of each item to its nearest ones, 0 for the others and where it is negative."""
    norms = np.sqrt(np.asarray(residuals.multiply(residuals).sum(0)).ravel()) + 1e-9
    similarity = (residuals.T @ residuals).toarray() / np.outer(norms, norms)
    support = (rated.T @ rated).toarray()
    similarity *= support / (support + SHRINKAGE)
    np.fill_diagonal(similarity, 0)
    kept = min(NEIGHBOURS, len(similarity))
    threshold = np.partition(similarity, -kept, axis=1)[:, -kept:].min(axis=1, keepdims=True)
    return sparse.csr_matrix(np.where((similarity >= threshold) & (similarity > 0), similarity, 0))
