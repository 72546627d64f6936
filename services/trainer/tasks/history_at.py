"""Predictions for past events, computed as the ranking service would have computed them at the time."""

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.features.batch import user_batch
from recstack.features.catalogue import ItemTable
from recstack.models.dien import DIEN

ROWS_PER_BATCH = 512


class HistoryAt:
    """Model inputs for the moment just before an event: the last events with a strictly earlier timestamp."""

    def __init__(self, dataset: Dataset, events: Events) -> None:
        """`events` are all that may be known, in time order."""
        self._events = events
        self._profiles = dataset.users.profiles()
        self._sequences = UserSequences.build(events, len(dataset.users.ids))

    def rows(self, row: int, max_history: int) -> NDArray[np.int64]:
        """Rows of `events` that are the history of event `row`, oldest first."""
        known = int(self._sequences.prior[row])
        first = int(self._sequences.offsets[self._events.user[row]])
        return self._sequences.events[first + max(0, known - max_history) : first + known]

    def predict(self, model: DIEN, table: ItemTable, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probability of a like for each event in `rows`, through the functions that serve requests."""
        device = next(model.parameters()).device
        model.eval()
        length = model.config.max_history
        # Rows of like history length together: a batch is as long as its longest history.
        order = np.argsort(np.minimum(self._sequences.prior[rows], length), kind="stable")
        probabilities = np.empty(len(rows), np.float32)
        with torch.inference_mode():
            item_vectors_IE = model.encode_items(table.to(device))
            for start in range(0, len(rows), ROWS_PER_BATCH):
                part = order[start : start + ROWS_PER_BATCH]
                histories = [self.rows(int(row), length) for row in rows[part]]
                users = user_batch(
                    self._profiles[self._events.user[rows[part]]],
                    [self._events.item[history].astype(np.int64) + 1 for history in histories],
                    [self._events.rating[history] for history in histories],
                    length,
                    self._events.user[rows[part]].astype(np.int64) + 1,
                )
                state = model.encode_users(users.to(device), item_vectors_IE)
                candidates = torch.from_numpy(self._events.item[rows[part]].astype(np.int64) + 1).to(device)
                logits_BN = model.score(state, item_vectors_IE[candidates].unsqueeze(1))
                probabilities[part] = logits_BN.sigmoid().squeeze(1).cpu().numpy()
        return probabilities
