"""EASE as a baseline: item-to-item weights in closed form, at full rank.

Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.evaluation.popularity import Popularity
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.models.ease import item_weights


class LinearAutoencoder:
    """Scores an item by the weights of everything the user liked; popularity where nothing is known."""

    def __init__(self, likes_UI: csr_matrix, popularity: Popularity, regularisation: float) -> None:
        self._weights_II: NDArray[np.float32] = item_weights(likes_UI, regularisation).numpy()
        self._popularity = popularity

    def scores(self, cases: RetrievalCases) -> NDArray[np.float32]:
        """[Q, I] scores of every item for every case; higher is better."""
        return self._popularity.where_no_history(cases.liked() @ self._weights_II, cases)
