"""Item-to-item neighbours by cosine of co-likes.

Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.evaluation.popularity import Popularity
from recstack.evaluation.retrieval_cases import RetrievalCases


class ItemKNN:
    """Scores an item by its similarity to everything the user liked; popularity where nothing is known.

    likes_UI: training likes, 0 or 1. neighbours: similarities kept per item. shrink: added to the denominator of the
    cosine, which holds back pairs that few users support.
    """

    def __init__(self, likes_UI: csr_matrix, popularity: Popularity, neighbours: int, shrink: float) -> None:
        together_II = (likes_UI.T @ likes_UI).toarray().astype(np.float32)
        norm_I = np.sqrt(together_II.diagonal())
        similarity_II = together_II / (norm_I[:, None] * norm_I + shrink + 1e-9)
        np.fill_diagonal(similarity_II, 0.0)
        if neighbours < len(similarity_II):
            weakest_I = np.partition(similarity_II, -neighbours, axis=1)[:, -neighbours]
            similarity_II[similarity_II < weakest_I[:, None]] = 0.0
        self._similarity_II = similarity_II
        self._popularity = popularity

    def scores(self, cases: RetrievalCases) -> NDArray[np.float32]:
        """[Q, I] scores of every item for every case; higher is better."""
        return self._popularity.where_no_history(cases.liked() @ self._similarity_II, cases)
