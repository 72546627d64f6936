"""A recommender as a notebook becomes one: the same models and features as RecStack's, put together the usual way.

- Features come from the Feast SDK: the user's profile and history, year and genres of every item that the ranker is
  given, titles of what is shown.
- Recall is the user tower in eager torch and `index.search` of faiss; what the user has seen is asked for as well and
  dropped afterwards.
- Ranking is eager torch on rows, one row per candidate with the user's profile and history repeated in each, which is
  the forward of DeepCTR and FuxiCTR (`tests.bench.peers.plain_dien`). Every item of the request is embedded from its
  features, once.

Weights, item vectors and the index are those of a bundle, so candidates and scores are the same as RecStack's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recstack.bundle import RETRIEVAL, Bundle, ranker_folder
from recstack.features.batch import rating_ids, user_batch
from recstack.features.catalogue import year_buckets
from recstack.features.schema import PROFILE_SIZES
from recstack.models.dien import DIEN
from recstack.models.rankers import load_ranker
from recstack.models.retrieval_index import load_index
from recstack.models.retrievers import load_retriever
from tests.bench.peers.feast_features import open_features, read, read_user
from tests.bench.peers.plain_dien import PlainDIEN


@dataclass(frozen=True, slots=True)
class User:
    """profile [4] ids; history, oldest first: item_ids [L] and ratings [L]."""

    profile: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    ratings: NDArray[np.float32]

    def recent(self, events: int) -> "User":
        """The user with the last events alone."""
        return User(self.profile, self.item_ids[-events:], self.ratings[-events:])


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item, with the probability that the user likes it."""

    item_id: int
    title: str
    score: float


class DefaultRecommender:
    """Recommends for users who have a history. candidates: how many are ranked; history_length: events that models see.

    features: folder of the Feast registry.
    """

    def __init__(self, features: Path, redis_url: str, bundle: Bundle, candidates: int, history_length: int) -> None:
        self._features = open_features(features, redis_url)
        self._catalogue = bundle.catalogue()
        self._index = load_index(bundle.folder / RETRIEVAL / "index.faiss")
        self._tower = load_retriever(bundle.folder / RETRIEVAL)
        self._ranker = PlainDIEN(cast(DIEN, load_ranker(bundle.folder / ranker_folder("dien")))).eval()
        self._candidates = candidates
        self._history_length = history_length
        with torch.inference_mode():
            self._history_items_IW = self._tower.history_items(self._catalogue.item_table())

    @torch.inference_mode()
    def recommend(self, user_id: int, k: int) -> list[Recommendation]:
        """The k best of the candidates. KeyError for a user without a history."""
        user = self._user(user_id)
        recent = user.recent(self._history_length)
        candidates = self._recall(recent, seen=user.item_ids)
        scores = self._rank(recent, candidates)
        best = np.argsort(-scores, kind="stable")[:k]
        titles = read(self._features, "item", ("title",), candidates[best])["title"]
        columns = zip(candidates[best].tolist(), titles, scores[best].tolist(), strict=True)
        return [Recommendation(item_id, title, score) for item_id, title, score in columns]

    def _user(self, user_id: int) -> User:
        values = read_user(self._features, user_id)
        if values["item_ids"][0] is None:
            raise KeyError(user_id)
        profile = np.array([values[name][0] for name in PROFILE_SIZES], np.int64)
        return User(profile, np.array(values["item_ids"][0], np.int64), np.array(values["ratings"][0], np.float32))

    def _recall(self, user: User, seen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of the candidates, nearest first."""
        rows = self._catalogue.index_of(user.item_ids)
        batch = user_batch(user.profile[None, :], [rows], [user.ratings], self._history_length)
        vector_1D = self._tower.encode_users_from(batch, self._history_items_IW).numpy()
        query_1D = np.pad(vector_1D, ((0, 0), (0, self._index.d - vector_1D.shape[1])))
        _, found_1K = self._index.search(query_1D, min(self._candidates + len(seen), self._index.ntotal))
        item_ids = self._catalogue.ids[found_1K[0]]
        return item_ids[~np.isin(item_ids, seen)][: self._candidates]

    def _rank(self, user: User, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities [R] of the candidates, one row each."""
        rows, length = len(candidates), len(user.item_ids)
        vectors_XE = self._item_vectors(np.concatenate([user.item_ids, candidates]))
        logits_R = self._ranker(
            torch.from_numpy(user.profile).expand(rows, -1),
            functional.embedding(torch.arange(length).expand(rows, -1), vectors_XE),
            torch.from_numpy(rating_ids(user.ratings)).expand(rows, -1),
            vectors_XE[length:],
        )
        return torch.sigmoid(logits_R).numpy()

    def _item_vectors(self, item_ids: NDArray[np.int64]) -> Tensor:
        """What the ranker reads of items, [X, E], embedded from features that Feast serves."""
        values = read(self._features, "item", ("year", "genres"), item_ids)
        movie_X = torch.from_numpy(self._catalogue.index_of(item_ids))
        inputs = {
            "movie": movie_X,
            "genre": torch.tensor(values["genres"]),
            "year": torch.from_numpy(year_buckets(np.array(values["year"], np.int16))),
        }
        trained = self._ranker.trained
        parts = [embed(inputs[name]) for name, embed in trained.item_features.embeddings.items()]
        return torch.cat([*parts, trained.item_bias[movie_X].unsqueeze(1)], dim=1)
