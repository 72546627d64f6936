"""Predictions for past events, computed as the ranking service would have computed them at the time."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit
from recstack.features.batch import UserBatch, user_batch
from recstack.models.devices import device_of
from recstack.models.ranker import Ranker
from services.trainer.items import item_table

ROWS_PER_BATCH = 512


class HistoryAt:
    """What may be known just before an event: its user's events with a strictly earlier timestamp.

    In a temporal split any earlier event may be known. In a random split only training events may: the others are
    what is to be predicted.
    """

    def __init__(self, dataset: Dataset, split: RowSplit) -> None:
        self._events = dataset.events
        self._profiles = dataset.users.profiles()
        self._known = np.arange(len(dataset.events)) if split.temporal else split.train
        self._sequences = UserSequences.build(events_at(dataset, self._known), len(dataset.users.ids))
        trained = np.zeros(len(dataset.users.ids), bool)
        trained[dataset.events.user[split.train]] = True
        self._user_index = np.where(trained, np.arange(1, len(trained) + 1), 0)
        # One ascending key for user and time, so that one binary search finds where each row's history ends.
        _, self._instant = np.unique(dataset.events.timestamp_ms, return_inverse=True)
        self._key = self._keys(self._known[self._sequences.events])

    def ends(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[len(rows)] int64: how many events of its user each row may know about."""
        found = np.searchsorted(self._key, self._keys(rows), side="left")
        return found - self._sequences.offsets[self._events.user[rows]]

    def rows(self, row: int, max_history: int) -> NDArray[np.int64]:
        """Rows of Events that are the history of event `row`, the last `max_history` of them, oldest first."""
        return self._slice(row, int(self.ends(np.array([row]))[0]), max_history)

    def users(self, rows: NDArray[np.int64], max_history: int) -> UserBatch:
        """Model inputs of the users of `rows`. A user without training events is an unknown one."""
        user = self._events.user[rows]
        histories = [
            self._slice(int(row), int(end), max_history) for row, end in zip(rows, self.ends(rows), strict=True)
        ]
        return user_batch(
            self._profiles[user],
            [self._events.item[history].astype(np.int64) + 1 for history in histories],
            [self._events.rating[history] for history in histories],
            max_history,
            self._user_index[user],
        )

    def _slice(self, row: int, end: int, max_history: int) -> NDArray[np.int64]:
        first = int(self._sequences.offsets[self._events.user[row]])
        return self._known[self._sequences.events[first + max(0, end - max_history) : first + end]]

    def _keys(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._events.user[rows].astype(np.int64) * len(self._instant) + self._instant[rows]


def predict_rows(
    model: Ranker,
    dataset: Dataset,
    split: RowSplit,
    rows: NDArray[np.int64],
    item_vectors_IE: Tensor | None = None,
) -> NDArray[np.float32]:
    """What `model` predicts for each event in `rows`, [len(rows)], through the functions that serve requests.

    item_vectors_IE: `model.encode_items` of the dataset's items, for models that need more than an ItemTable; computed
    from the table when left out.
    """
    device = device_of(model)
    model.eval()
    known, length = HistoryAt(dataset, split), model.config.max_history
    # Rows of like history length together: a batch is as long as its longest history.
    order = np.argsort(np.minimum(known.ends(rows), length), kind="stable")
    predictions = np.empty(len(rows), np.float32)
    with torch.inference_mode():
        if item_vectors_IE is None:
            item_vectors_IE = model.encode_items(item_table(dataset).to(device))
        for start in range(0, len(rows), ROWS_PER_BATCH):
            part = order[start : start + ROWS_PER_BATCH]
            state = model.encode_users(known.users(rows[part], length).to(device), item_vectors_IE)
            items = torch.from_numpy(dataset.events.item[rows[part]].astype(np.int64) + 1).to(device)
            scores_B1 = model.score(state, item_vectors_IE[items].unsqueeze(1))
            predictions[part] = model.predict(scores_B1).squeeze(1).float().cpu().numpy()
    return predictions


def events_at(dataset: Dataset, rows: NDArray[np.int64]) -> Events:
    """The events of `rows`, in their order."""
    events = dataset.events
    return Events(events.user[rows], events.item[rows], events.rating[rows], events.timestamp_ms[rows])
