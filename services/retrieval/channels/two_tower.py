"""The user tower's vector against the item index: what the trained model recalls."""

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.features.batch import user_batch
from recstack.features.catalogue import Catalogue
from recstack.models.retriever import Retriever
from services.retrieval.channels.base import Recall, RecallQuery
from services.retrieval.item_index import ItemIndex


class TwoTowerChannel:
    """Items with the highest dot product with the user vector, which is the score (up to a factor that all share).

    model: in eval mode; it is moved to `device`.
    """

    def __init__(self, model: Retriever, catalogue: Catalogue, index: ItemIndex, device: torch.device) -> None:
        self._model = model.to(device)
        self._index = index
        self._device = device
        with torch.inference_mode():
            # Computed here and not per request: it covers the whole catalogue.
            self._history_items_IW = model.history_items(catalogue.item_table().to(device))

    def user_vector(self, query: RecallQuery) -> NDArray[np.float32]:
        """[D] vector of the user in the index's space; without a history it comes from the profile alone."""
        max_history = self._model.config.max_history
        batch = user_batch(
            query.profile[None, :],
            [query.history_rows + 1],
            [query.history_ratings],
            max_history,
            np.array([query.user], np.int64),
        )
        with torch.inference_mode():
            vectors_1D = self._model.encode_users_from(batch.to(self._device), self._history_items_IW)
        query = np.zeros(self._index.dimensions, np.float32)  # an index may have a column more, see `unit_vectors`
        query[: vectors_1D.shape[1]] = vectors_1D[0].float().cpu().numpy()
        return query

    def recall(self, query: RecallQuery, k: int, allowed: NDArray[np.bool_]) -> Recall:
        """The k allowed items nearest to the user."""
        rows, similarities = self._index.search(self.user_vector(query), k, allowed)
        return Recall(rows, similarities)
