"""Protocol S1: what comes next, by leaving out each user's last event. The whole catalogue is ranked.

Kang and McAuley, Self-Attentive Sequential Recommendation, 2018, for the split; Krichene and Rendle, On Sampled Metrics
for Item Recommendation, 2020, for ranking everything in place of a sample.

Shape legend: Q cases (held-out events), I items of the catalogue, K ranks.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recstack.data.dataset import Dataset, Events
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit, leave_last_out
from recstack.errors import InvalidRequestError
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import hit_rate, hits, ndcg, truth_counts

VALIDATION_USERS = 512
VALIDATION_SEED = 42
DEPTH = 100
"""Ranks that `leave_one_out_metrics` looks at."""


def leave_one_out_split(dataset: Dataset) -> RowSplit:
    """Train: all but a user's last two events. Validation: the one before last of 512 users. Test: everybody's last.

    The users are those of `numpy.random.RandomState(42).choice(U, 512, replace=False)`, all of them where there are
    fewer. The one before last of the others is part of nothing but histories of test events. Users with fewer than
    three events are in training only.
    """
    held_out = leave_last_out(dataset.events)
    num_users = len(dataset.users.ids)
    chosen = np.random.RandomState(VALIDATION_SEED).choice(num_users, min(VALIDATION_USERS, num_users), replace=False)
    validation = held_out.validation[np.isin(dataset.events.user[held_out.validation], chosen)]
    return RowSplit(held_out.train, validation, held_out.test, temporal=True)


def next_item_cases(dataset: Dataset, rows: NDArray[np.int64]) -> RetrievalCases:
    """One case per row of Events, in ascending user order: its item is the truth, all the user had before is known.

    Rank them with `rank_unseen`, to a depth of `DEPTH` at least: ties are then in item order. Raises
    InvalidRequestError when a user has two rows.
    """
    events, num_items = dataset.events, len(dataset.items.ids)
    rows = rows[np.argsort(events.user[rows], kind="stable")]
    users = events.user[rows].astype(np.int64)
    if len(np.unique(users)) < len(users):
        raise InvalidRequestError("a user has two of the rows; leave one event of each user out")
    sequences = UserSequences.build(events, len(dataset.users.ids))
    histories = tuple(_before(sequences, user, row) for user, row in zip(users.tolist(), rows.tolist(), strict=True))
    return RetrievalCases(
        events,
        users,
        dataset.users.profiles()[users],
        histories,
        seen=_items(events, histories, num_items),
        truth=_items(events, [np.array([row]) for row in rows], num_items),
    )


def leave_one_out_metrics(ranked_QK: NDArray[np.int64], truth: csr_matrix) -> dict[str, float]:
    """HR@10, NDCG@10, HR@50 and HR@100 of the items that `rank_unseen` put first."""
    if ranked_QK.shape[1] < min(DEPTH, truth.shape[1]):
        raise InvalidRequestError(f"the ranking has {ranked_QK.shape[1]} items per case; HR@{DEPTH} needs {DEPTH}")
    hits_QK = hits(ranked_QK, truth)
    metrics = {f"hr@{k}": float(hit_rate(hits_QK, k).mean()) for k in (10, 50, 100)}
    metrics["ndcg@10"] = float(ndcg(hits_QK, truth_counts(truth), 10).mean())
    return metrics


def _before(sequences: UserSequences, user: int, row: int) -> NDArray[np.int64]:
    """A user's rows before `row` in the order of Events; those of the same instant count, or ties would be skipped."""
    rows = sequences.of(user)
    return rows[: int(np.flatnonzero(rows == row)[0])]


def _items(
    events: Events, rows_Q: tuple[NDArray[np.int64], ...] | list[NDArray[np.int64]], num_items: int
) -> csr_matrix:
    """[Q, I] int8 matrix with a 1 for the item of each case's rows."""
    case = np.repeat(np.arange(len(rows_Q)), [len(rows) for rows in rows_Q])
    item = events.item[np.concatenate(rows_Q).astype(np.int64)]
    matrix = csr_matrix((np.ones(len(item), np.int8), (case, item)), (len(rows_Q), num_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
