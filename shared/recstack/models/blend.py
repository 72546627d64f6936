"""The rankers of a bundle as one: the weighted sum of their raw scores.

Raw scores are added up, not predictions: logits add up as evidence does, and a saturated probability cannot drown the
others.

Shape legend: B users, N candidates, I items, E item vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.bundle.manifest import ranker_folder
from recstack.errors import BundleError
from recstack.features.batch import UserBatch, user_batch
from recstack.models.ranker import Prediction, Ranker, users_of
from recstack.models.rankers import load_item_vectors, load_ranker

PAIRS_AT_ONCE = 2048
"""Candidates, padding included, that are scored at once on a CPU: what a layer makes of them stays in its cache."""


@dataclass(frozen=True, slots=True)
class Users:
    """Users as any ranker can be given them.

    profiles [B, 4] int64 ids; item_indices and ratings: one array per user, oldest first; indices [B] int64, 0 unknown.
    """

    profiles: NDArray[np.int64]
    item_indices: Sequence[NDArray[np.int64]]
    ratings: Sequence[NDArray[np.float32]]
    indices: NDArray[np.int64]

    def take(self, rows: Sequence[int]) -> "Users":
        """Some of the users, in this order."""
        return Users(
            self.profiles[rows],
            [self.item_indices[row] for row in rows],
            [self.ratings[row] for row in rows],
            self.indices[rows],
        )

    def batch(self, max_length: int) -> UserBatch:
        """The users as tensors, with the last `max_length` events of each history."""
        return user_batch(self.profiles, self.item_indices, self.ratings, max_length, self.indices)


@dataclass(frozen=True, slots=True)
class Member:
    """A ranker of a blend, its item vectors [I+1, E], and its weight."""

    ranker: Ranker
    item_vectors_IE: Tensor
    weight: float


class Blend:
    """One or more rankers that predict the same kind of thing, laid out for serving. Nothing is changed after
    construction. Members themselves are not kept: with a million items their tables are hundreds of megabytes.

    configs: of the rankers, by name. prediction: what `predict` returns. device: where it works.

    Raises BundleError when the members differ in what they predict, or when one's item vectors are not its own.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        kinds = {name: member.ranker.prediction for name, member in members.items()}
        if len(set(kinds.values())) != 1:
            said = ", ".join(f"{name} a {kind}" for name, kind in kinds.items()) or "there are none"
            raise BundleError(f"the rankers of a blend must predict one kind of thing: {said}")
        for name, member in members.items():
            member.ranker.eval()
            rows, expected = len(member.item_vectors_IE), member.ranker.config.num_items + 1
            if rows != expected:
                raise BundleError(f"ranker {name} has {rows} item vectors, expected {expected}; publish it again")
        self.configs: Mapping[str, Any] = {name: member.ranker.config for name, member in members.items()}
        self.prediction: Prediction = next(iter(kinds.values()))
        self.device = next(iter(members.values())).item_vectors_IE.device
        self._weights = [member.weight for member in members.values()]
        with torch.inference_mode():
            self._served = [member.ranker.served(member.item_vectors_IE) for member in members.values()]

    @classmethod
    def load(cls, bundle_folder: Path, weights: Mapping[str, float], device: torch.device | str = "cpu") -> "Blend":
        """Read the rankers named in `weights` from a bundle's folder. BundleError when their files do not fit."""
        members = {}
        for name, weight in weights.items():
            folder = bundle_folder / ranker_folder(name)
            members[name] = Member(load_ranker(folder).to(device), load_item_vectors(folder).to(device), weight)
        return cls(members)

    @property
    def num_items(self) -> int:
        """Items that every member knows."""
        return int(next(iter(self.configs.values())).num_items)

    @property
    def max_history(self) -> int:
        """History events that count for at least one member; 0 when no member reads histories."""
        return max(self.history_lengths)

    @property
    def history_lengths(self) -> list[int]:
        """The different numbers of history events that members read."""
        return sorted({int(config.max_history) for config in self.configs.values()})

    def predict(self, users: Users, candidates: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Predictions for each user's candidates (item indices), one array per user: probabilities, or ratings 1..5."""
        # Longest lists first: what is padded together is then of nearly one length.
        order = sorted(range(len(candidates)), key=lambda row: -len(candidates[row]))
        ordered = users if order == list(range(len(order))) else users.take(order)
        batches = {length: ordered.batch(length).to(self.device) for length in self.history_lengths}
        with torch.inference_mode():
            states = self._encode(batches)
            predictions: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(order)
            for rows in self._groups([len(candidates[row]) for row in order]):
                chosen = [candidates[row] for row in order[rows]]
                scores_BN = self._score(states, rows, padded(chosen).to(self.device))
                predicted_BN = self.prediction.of(scores_BN).cpu().numpy()
                for row, predicted_N, one in zip(order[rows], predicted_BN, chosen, strict=True):
                    predictions[row] = predicted_N[: len(one)]
            return predictions

    def predict_tensors(self, batches: Mapping[int, UserBatch], candidates_BN: Tensor) -> Tensor:
        """Predictions [B, N] of inputs that are on the blend's device. Launches work there and waits for none of it.

        batches: the users, with as much of their history as each of `history_lengths` says.
        """
        with torch.inference_mode():
            scores_BN = self._score(self._encode(batches), slice(None), candidates_BN)
            return self.prediction.of(scores_BN)

    def _encode(self, batches: Mapping[int, UserBatch]) -> list[Any]:
        """Every member's state of the users, each with as much of the history as the member was trained with."""
        return [
            served.encode(batches[int(config.max_history)])
            for served, config in zip(self._served, self.configs.values(), strict=True)
        ]

    def _score(self, states: Sequence[Any], rows: slice, candidates_BN: Tensor) -> Tensor:
        scores = [
            weight * served.score(users_of(state, rows), candidates_BN).float()
            for served, weight, state in zip(self._served, self._weights, states, strict=True)
        ]
        return scores[0] if len(scores) == 1 else torch.stack(scores).sum(0)

    def _groups(self, counts: Sequence[int]) -> list[slice]:
        """Users that are scored at once: on a CPU as many as fit its cache, on another device all."""
        if self.device.type != "cpu" or len(counts) == 1:
            return [slice(None)]
        groups, start = [], 0
        for end in range(1, len(counts) + 1):
            if end == len(counts) or (end + 1 - start) * counts[start] > PAIRS_AT_ONCE:
                groups.append(slice(start, end))
                start = end
        return groups


def padded(rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """Item indices [B, N], N that of the longest row; shorter rows end in the unknown item."""
    padded_BN = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for padded_N, row in zip(padded_BN, rows, strict=True):
        padded_N[: len(row)] = row
    return torch.from_numpy(padded_BN)
