"""Matrix factorization of implicit feedback by alternating least squares.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008: equation 4 solves one side with
the other fixed. A user's factors follow from the likes alone, so users are folded in when they are scored.

Shape legend: U users, I items, F factors, Q cases.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.evaluation.popularity import Popularity
from recstack.evaluation.retrieval_cases import RetrievalCases


class ImplicitALS:
    """Factors of users and items whose product approximates the likes; popularity where nothing is known.

    likes_UI: training likes, 0 or 1. confidence: weight of a like above that of an item not liked (alpha in the
    paper). regularization: added to the diagonal of every least-squares system (lambda).
    """

    def __init__(
        self,
        likes_UI: csr_matrix,
        popularity: Popularity,
        factors: int = 64,
        confidence: float = 2.0,
        regularization: float = 10.0,
        iterations: int = 8,
        seed: int = 0,
    ) -> None:
        self._confidence, self._regularization = confidence, regularization
        self._popularity = popularity
        random = np.random.default_rng(seed)
        items_IF = random.normal(0.0, 0.1, (likes_UI.shape[1], factors)).astype(np.float32)
        likes_IU = likes_UI.T.tocsr()
        for _ in range(iterations):
            users_UF = self._solve(likes_UI, items_IF)
            items_IF = self._solve(likes_IU, users_UF)
        self.items_IF = items_IF

    def scores(self, cases: RetrievalCases) -> NDArray[np.float32]:
        """[Q, I] scores of every item for every case; higher is better."""
        users_QF = self._solve(cases.liked(), self.items_IF)
        return self._popularity.where_no_history(users_QF @ self.items_IF.T, cases)

    def _solve(self, likes: csr_matrix, fixed_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """Factors of each row of `likes` with those of its columns fixed; zeros for a row without likes."""
        factors = fixed_NF.shape[1]
        shared_FF = fixed_NF.T @ fixed_NF + self._regularization * np.eye(factors, dtype=np.float32)
        solved = np.zeros((likes.shape[0], factors), np.float32)
        for row in np.flatnonzero(np.diff(likes.indptr)):
            liked_KF = fixed_NF[likes.indices[likes.indptr[row] : likes.indptr[row + 1]]]
            system_FF = shared_FF + self._confidence * liked_KF.T @ liked_KF
            solved[row] = np.linalg.solve(system_FF, (1.0 + self._confidence) * liked_KF.sum(axis=0))
        return solved
