"""The rankers of a bundle as one: the weighted sum of their raw scores.

Raw scores are added up, not predictions: logits add up as evidence does, and a saturated probability cannot drown the
others.

Shape legend: B users, N candidates, I items, E item vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recstack.bundle.manifest import ranker_folder
from recstack.errors import BundleError
from recstack.features.batch import user_batch
from recstack.models.ranker import Prediction, Ranker
from recstack.models.rankers import load_item_vectors, load_ranker


@dataclass(frozen=True, slots=True)
class Users:
    """Users as any ranker can be given them.

    profiles [B, 4] int64 ids; item_indices and ratings: one array per user, oldest first; indices [B] int64, 0 unknown.
    """

    profiles: NDArray[np.int64]
    item_indices: Sequence[NDArray[np.int64]]
    ratings: Sequence[NDArray[np.float32]]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Member:
    """A ranker of a blend, its item vectors [I+1, E], and its weight."""

    ranker: Ranker
    item_vectors_IE: Tensor
    weight: float


class Blend:
    """One or more rankers that predict the same kind of thing, in eval mode. Nothing is changed after construction.

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
        self.members = dict(members)
        self.prediction: Prediction = next(iter(kinds.values()))
        self._first = next(iter(members.values()))
        self._device = self._first.item_vectors_IE.device

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
        return len(self._first.item_vectors_IE) - 1

    @property
    def max_history(self) -> int:
        """History events that count for at least one member; 0 when no member reads histories."""
        return max(int(member.ranker.config.max_history) for member in self.members.values())

    def predict(self, users: Users, candidates_BN: Tensor) -> Tensor:
        """Predictions [B, N] float32 for item indices `candidates_BN`: probabilities, or ratings 1..5."""
        with torch.inference_mode():
            return self._first.ranker.predict(self.score(users, candidates_BN))

    def score(self, users: Users, candidates_BN: Tensor) -> Tensor:
        """Raw scores [B, N] float32: logits where `prediction` is LIKE, ratings where it is RATING."""
        candidates_BN = candidates_BN.to(self._device)
        with torch.inference_mode():
            scores = [member.weight * _scores(member, users, candidates_BN) for member in self.members.values()]
            return torch.stack(scores).sum(0)


def _scores(member: Member, users: Users, candidates_BN: Tensor) -> Tensor:
    ranker, vectors_IE = member.ranker, member.item_vectors_IE
    # Each member is given as much of the history as it was trained with.
    batch = user_batch(users.profiles, users.item_indices, users.ratings, ranker.config.max_history, users.indices).to(
        vectors_IE.device
    )
    scores_BN: Tensor = ranker.score(ranker.encode_users(batch, vectors_IE), vectors_IE[candidates_BN])
    return scores_BN.float()
