"""Golden scores: Rank requests and the scores that the trained models gave them, kept in the bundle.

Any server that loads the bundle must give the same scores through gRPC; that is how "train and serve agree" is
tested, and what an operator can replay against a server that looks wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.data import Dataset, UserSequences
from recstack.features.batch import EMPTY_HISTORY, History, user_batch
from recstack.features.catalogue import Catalogue
from recstack.models.blend import Member

CASES = 12
CANDIDATES = 60
UNKNOWN_ITEM = 2**40


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One request: user id (0 unknown), profile [4] ids, history, item ids [N]; and its offline scores [N] float32."""

    user_id: int
    profile: NDArray[np.int64]
    history: History
    item_ids: NDArray[np.int64]
    scores: NDArray[np.float32]


def write_golden(
    path: Path,
    dataset: Dataset,
    sequences: UserSequences,
    catalogue: Catalogue,
    rankers: Sequence[Member],
    seed: int = 0,
) -> None:
    """Score users with short, long and no histories, an unknown user and an unknown item among them.

    rankers: those that serve, on the CPU; a score is what the weighted sum of their raw scores predicts.
    """
    rng = np.random.default_rng(seed)
    by_activity = np.argsort(np.diff(sequences.offsets), kind="stable")
    users = [None, *by_activity[np.linspace(0, len(by_activity) - 1, CASES - 1).astype(int)]]
    cases = []
    for user in users:
        profile = np.zeros(4, np.int64) if user is None else dataset.users.profiles()[user]
        history = EMPTY_HISTORY if user is None else _history(dataset, sequences.of(int(user)))
        item_ids = rng.choice(catalogue.ids, min(CANDIDATES, len(catalogue)), replace=False)
        item_ids[0] = UNKNOWN_ITEM
        user_id = 0 if user is None else int(dataset.users.ids[user])
        index = 0 if user is None else int(user) + 1
        raw = [member.weight * _raw(member, catalogue, profile, history, index, item_ids) for member in rankers]
        scores = rankers[0].ranker.predict(torch.stack(raw).sum(0)).numpy()
        cases.append(GoldenCase(user_id, profile, history, item_ids, scores))
    np.savez(
        path,
        user_ids=np.array([case.user_id for case in cases]),
        profiles=np.stack([case.profile for case in cases]),
        lengths=np.array([len(case.history) for case in cases]),
        history_item_ids=np.concatenate([case.history.item_ids for case in cases]),
        history_timestamps_ms=np.concatenate([case.history.timestamps_ms for case in cases]),
        history_ratings=np.concatenate([case.history.ratings for case in cases]),
        item_ids=np.stack([case.item_ids for case in cases]),
        scores=np.stack([case.scores for case in cases]),
    )


def read_golden(path: Path) -> list[GoldenCase]:
    """The cases that `write_golden` wrote."""
    with np.load(path, allow_pickle=False) as columns:
        ends = np.cumsum(columns["lengths"])[:-1]
        histories = [
            History(*parts)
            for parts in zip(
                np.split(columns["history_item_ids"], ends),
                np.split(columns["history_timestamps_ms"], ends),
                np.split(columns["history_ratings"], ends),
                strict=True,
            )
        ]
        cases = zip(
            columns["user_ids"].tolist(),
            columns["profiles"],
            histories,
            columns["item_ids"],
            columns["scores"],
            strict=True,
        )
        return [GoldenCase(*case) for case in cases]


def _history(dataset: Dataset, rows: NDArray[np.int64]) -> History:
    events = dataset.events
    return History(dataset.items.ids[events.item[rows]], events.timestamp_ms[rows], events.rating[rows])


def _raw(
    member: Member,
    catalogue: Catalogue,
    profile: NDArray[np.int64],
    history: History,
    user_index: int,
    item_ids: NDArray[np.int64],
) -> Tensor:
    """[N] raw scores by the training code's own forward pass: one user at a time, nothing cached but item vectors."""
    batch = user_batch(
        profile[None],
        [catalogue.index_of(history.item_ids)],
        [history.ratings],
        member.ranker.config.max_history,
        np.array([user_index]),
    )
    with torch.inference_mode():
        state = member.ranker.encode_users(batch, member.item_vectors_IE)
        candidates_1NE = member.item_vectors_IE[torch.from_numpy(catalogue.index_of(item_ids))][None]
        scores_1N: Tensor = member.ranker.score(state, candidates_1NE)
    return scores_1N[0].float()
