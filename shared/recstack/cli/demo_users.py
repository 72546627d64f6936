"""Users worth showing in the demo, and what they did last."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recstack.api.features.v1 import features_pb2
from recstack.api.features.v1.features_pb2_grpc import FeatureStoreServiceStub
from recstack.config import Settings
from recstack.features.schema import GENRES, LIKED_FROM
from recstack.rpc.channel import sync_channel
from recstack.rpc.credentials import tls_to

_MIN_LIKED, _MAX_LIKED = 20, 200
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user, and the genre that the user likes more than most others do."""

    user_id: int
    genre: str


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One interaction: title and rating (0 when none was given)."""

    title: str
    rating: float


def contrasting_viewers(bundle: Path) -> tuple[Viewer, Viewer]:
    """Two users of a bundle with different tastes: those whose likes lean most to one genre, compared with everybody.

    Likes are ratings of 4 and more; users with very few or very many of them, or with more dislikes than likes, are
    passed over where possible.
    """
    with np.load(bundle / "features/histories.npz") as file:
        user_ids, lengths, records = file["user_ids"], file["lengths"], file["records"]
    with np.load(bundle / "features/items.npz") as file:
        item_ids, item_genres = file["ids"], file["rows"]["genres"]
    liked = records["rating"] >= LIKED_FROM
    user_row = np.repeat(np.arange(len(user_ids)), lengths)[liked]
    genres = item_genres[np.searchsorted(item_ids, records["item_id"][liked])]
    counts = np.zeros((len(user_ids), len(GENRES) + 1))
    for slot in range(genres.shape[1]):
        np.add.at(counts, (user_row, genres[:, slot]), 1)
    counts = counts[:, 1:]
    lean = (counts + 1) / (counts.sum(1, keepdims=True) + len(GENRES)) - counts.mean(0) / max(counts.mean(0).sum(), 1)
    likes = np.bincount(user_row, minlength=len(user_ids))
    lean[(likes < _MIN_LIKED) | (likes > _MAX_LIKED) | (2 * likes < lengths)] -= 1.0
    first, first_genre = np.unravel_index(lean.argmax(), lean.shape)
    lean[:, first_genre] = lean[first, :] = -2.0
    second, second_genre = np.unravel_index(lean.argmax(), lean.shape)
    return (
        Viewer(int(user_ids[first]), GENRES[int(first_genre)]),
        Viewer(int(user_ids[second]), GENRES[int(second_genre)]),
    )


def recent_history(settings: Settings, user_id: int, count: int) -> list[HistoryLine]:
    """The last `count` interactions of a user, newest first, read from the feature store of a stack."""
    with sync_channel(settings.feature_store.address, tls_to("feature_store", settings)) as channel:
        stub = FeatureStoreServiceStub(channel)
        user = stub.GetUser(
            features_pb2.GetUserRequest(user_id=user_id, history_length=count), timeout=_TIMEOUT_SECONDS
        )
        items = stub.GetItems(
            features_pb2.GetItemsRequest(item_ids=user.history.item_ids, plan="display"), timeout=_TIMEOUT_SECONDS
        )
    column = next(column for column in items.columns if column.name == "title")
    titles = [title.decode() for title in np.frombuffer(column.data, column.dtype)]
    lines = [HistoryLine(title, rating) for title, rating in zip(titles, user.history.ratings, strict=True)]
    return lines[::-1]
