"""Scores candidates with a bundle's rankers: plain torch, knows nothing of gRPC, Ray or batching policy.

Item-side work is done once when a bundle is loaded, user-side work once per query, the rest per candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.bundle import Bundle
from recstack.errors import BundleError
from recstack.features.batch import EMPTY_HISTORY, History
from recstack.features.catalogue import Catalogue
from recstack.features.schema import PROFILE_SIZES
from recstack.features.users import UserIndex
from recstack.models.blend import Blend, Users
from recstack.models.ranker import Prediction
from services.ranking.gpu import GraphedBlend, with_graphs

WARM_UP_CANDIDATES = 500
ATTRIBUTION_PAIRS = 50_000
"""Candidates × history steps that an attribution scores at once: bounds its memory to some 100 MB."""


@dataclass(frozen=True, slots=True)
class RankQuery:
    """One user's candidates. profile: gender, age, occupation, region ids; item_ids: raw catalogue ids, at least one;
    user_id: 0 for an unknown user.

    The scorer takes values as valid: servers check them when they read a request.
    """

    profile: NDArray[np.int64]
    history: History
    item_ids: NDArray[np.int64]
    user_id: int = 0


@dataclass(frozen=True, slots=True)
class Attribution:
    """What to score to know the influence of each history event: the query with the events that are used, then the same
    without each of them. Leave-one-out attribution (Robnik-Šikonja and Kononenko, Explaining Classifications for
    Individual Instances, 2008; occlusion in Zeiler and Fergus, Visualizing and Understanding Convolutional Networks,
    2014): it sees every path by which an event acts, which a model's attention does not.

    query: as asked, with its whole history. used: its last events that count. Variant 0 has them all, variant n lacks
    the n-th.
    """

    query: RankQuery
    used: int

    @property
    def pieces(self) -> list[range]:
        """Numbers of the variants in order, as many in a piece as ATTRIBUTION_PAIRS allows."""
        at_once = max(1, ATTRIBUTION_PAIRS // (len(self.query.item_ids) * max(1, self.used)))
        return [range(start, min(start + at_once, self.used + 1)) for start in range(0, self.used + 1, at_once)]

    def variants(self, piece: range) -> list[RankQuery]:
        """The queries of a piece; made when they are scored, as a long history has hundreds."""
        history = self.query.history.last(self.used)
        return [replace(self.query, history=history.without(n - 1) if n else history) for n in piece]

    def result(self, scores: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores [N], equal to those of `Scorer.score`, and the influence [N, events] of each event on them.

        scores: of all variants, in order. An event's influence is the score with the history minus the score without
        that event. Only the last `max_history` events are used: older ones have influence 0 and do not move up when one
        is left out (for a ranker of a blend that looks less far back, they do). Without a history there are no columns.
        """
        whole, without_VN = scores[0], scores[1:]
        events = len(self.query.history)
        influences = np.zeros((len(whole), events), np.float32)
        if self.used:
            influences[:, events - self.used :] = (whole - np.stack(without_VN)).T
        return whole, influences


class Scorer:
    """Loaded rankers. Results depend on the query alone (to float rounding), not on what it is batched with.

    Thread-safe: nothing is changed after construction.
    """

    def __init__(self, rankers: Blend | GraphedBlend, catalogue: Catalogue, users: UserIndex) -> None:
        for name, config in rankers.configs.items():
            # 0 users: the ranker knows no user by id.
            known = {"items": config.num_items, "users": getattr(config, "num_users", 0) or len(users)}
            listed = {"items": len(catalogue), "users": len(users)}
            if known != listed:
                raise BundleError(f"ranker {name} knows {known}, the bundle has {listed}; load both from one bundle")
        self._rankers = rankers
        self._catalogue = catalogue
        self._users = users

    @classmethod
    def load(cls, bundle: Bundle, device: str = "cpu", threads: int = 1) -> "Scorer":
        """Read a bundle's catalogue, users and rankers. `threads` is set for the whole process.

        Raises BundleError when files are missing or do not fit.
        """
        torch.set_num_threads(threads)
        rankers = with_graphs(Blend.load(bundle.folder, bundle.manifest.rankers, device))
        return cls(rankers, bundle.catalogue(), UserIndex.load(bundle.folder))

    @property
    def prediction(self) -> Prediction:
        """What scores are."""
        return self._rankers.prediction

    @property
    def max_history(self) -> int:
        """History events that count, 0 or more; of a longer history the most recent ones are used."""
        return self._rankers.max_history

    def unknown_items(self, item_ids: NDArray[np.int64]) -> int:
        """How many of the ids the catalogue does not know; they are scored as the unknown item."""
        return int(np.count_nonzero(self._catalogue.index_of(item_ids) == 0))

    def score(self, queries: Sequence[RankQuery]) -> list[NDArray[np.float32]]:
        """Predictions for each query's candidates, one float32 array per query, in request order.

        Histories are encoded together, padded to the longest; candidates are scored in groups of like number.
        """
        if not queries:
            return []
        return self._rankers.predict(
            Users(
                np.stack([np.asarray(query.profile, np.int64) for query in queries]),
                [self._catalogue.index_of(query.history.item_ids) for query in queries],
                [query.history.ratings for query in queries],
                self._users.index_of(np.array([query.user_id for query in queries], np.int64)),
            ),
            [self._catalogue.index_of(query.item_ids) for query in queries],
        )

    def attribution(self, query: RankQuery) -> "Attribution":
        """The plan of an attribution: what to score, in pieces that leave room for other requests between them."""
        return Attribution(query, min(len(query.history), self.max_history))

    def attribute(self, query: RankQuery) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores and influences of one query at once; see `Attribution.result`."""
        plan = self.attribution(query)
        return plan.result([scores for piece in plan.pieces for scores in self.score(plan.variants(piece))])

    def warm_up(self) -> None:
        """Score a full-size query, so that the first real one does not pay for allocations and kernel choice."""
        items = np.resize(self._catalogue.ids, WARM_UP_CANDIDATES)
        steps = np.resize(self._catalogue.ids, self.max_history)
        history = History(steps, np.zeros(len(steps), np.int64), np.ones(len(steps), np.float32))
        profile = np.zeros(len(PROFILE_SIZES), np.int64)
        for known in (EMPTY_HISTORY, history):
            self.score([RankQuery(profile, known, items)])
