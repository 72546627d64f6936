"""The features of a bundle in Feast's online store, on the same Redis that RecStack serves from.

Set up as Feast's documentation says for low latency: a local registry that is read once and never again
(`cache_ttl_seconds` 0), Redis as online store, no on-demand transformations, entity values given as columns. Values
that belong together are one feature where Feast has a type for it (genres and histories are arrays): this is the
cheapest way of storing them, as Feast's cost grows with the number of entities times features.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.repo_config import RepoConfig
from feast.types import Array, FeastType, Float32, Int64, String
from numpy.typing import NDArray

from recstack.features.schema import PROFILE_SIZES

ITEM_FEATURES: dict[str, FeastType] = {"year": Int64, "genres": Array(Int64), "title": String}
PROFILE_FEATURES: dict[str, FeastType] = dict.fromkeys(PROFILE_SIZES, Int64)
HISTORY_FEATURES: dict[str, FeastType] = {"item_ids": Array(Int64), "ratings": Array(Float32)}
"""Without the times of events: the models do not read them, so a team would not store them here."""

PRECOMPUTED_ITEMS = "precomputed_items"
"""Feature service whose rows Feast keeps ready-made, one value per item."""


def open_features(folder: Path, redis_url: str) -> FeatureStore:
    """The feature store whose registry lies in `folder`."""
    address = urlsplit(redis_url)
    config = RepoConfig(
        project="peer",
        provider="local",
        registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
        online_store={"type": "redis", "connection_string": f"{address.hostname}:{address.port}"},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def load_features(store: FeatureStore, folder: Path, bundle_folder: Path, precompute: bool = False) -> None:
    """Define everything in the registry in `folder`, and write the features of a bundle to Redis.

    precompute: also keep ready-made rows of all items, see PRECOMPUTED_ITEMS.
    """
    user, item = (Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.INT64) for name in ("user", "item"))
    views = {
        "item": _view("item", item, ITEM_FEATURES, folder),
        "profile": _view("profile", user, PROFILE_FEATURES, folder),
        "history": _view("history", user, HISTORY_FEATURES, folder),
    }
    ready_made = FeatureService(name=PRECOMPUTED_ITEMS, features=[views["item"]], precompute_online=True)
    frames = {"item": _items(bundle_folder), "profile": _profiles(bundle_folder), "history": _histories(bundle_folder)}
    for name, frame in frames.items():
        frame.head(1).to_parquet(folder / f"{name}.parquet")  # Feast wants to see that an offline source exists
    store.apply([user, item, *views.values(), *([ready_made] if precompute else [])])
    for name, frame in frames.items():
        store.write_to_online_store(name, frame)
    if precompute:
        store.precompute_feature_service(PRECOMPUTED_ITEMS)


def read(store: FeatureStore, view: str, features: tuple[str, ...], ids: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Values of `features` of one view as lists in the order of `ids`."""
    entity = "item" if view == "item" else "user"
    references = [f"{view}:{feature}" for feature in features]
    return store.get_online_features(references, {f"{entity}_id": ids.tolist()}).to_dict()


def read_user(store: FeatureStore, user_id: int) -> dict[str, list[Any]]:
    """Profile and history of one user, in one round trip."""
    references = [f"profile:{name}" for name in PROFILE_FEATURES] + [f"history:{name}" for name in HISTORY_FEATURES]
    return store.get_online_features(references, {"user_id": [user_id]}).to_dict()


def _view(name: str, entity: Entity, features: dict[str, FeastType], folder: Path) -> FeatureView:
    schema = [Field(name=entity.join_key, dtype=Int64)]
    schema += [Field(name=feature, dtype=kind) for feature, kind in features.items()]
    source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=[entity], schema=schema, source=source)


def _items(bundle_folder: Path) -> pd.DataFrame:
    with np.load(bundle_folder / "features/items.npz", allow_pickle=False) as columns:
        rows = columns["rows"]
        values = {
            "item_id": columns["ids"],
            "year": rows["year"].astype(np.int64),
            "genres": rows["genres"].astype(np.int64).tolist(),
            "title": [title.decode() for title in rows["title"].tolist()],
        }
    return _frame(values)


def _profiles(bundle_folder: Path) -> pd.DataFrame:
    with np.load(bundle_folder / "features/users.npz", allow_pickle=False) as columns:
        rows = columns["rows"]
        return _frame({"user_id": columns["ids"]} | {name: rows[name].astype(np.int64) for name in PROFILE_FEATURES})


def _histories(bundle_folder: Path) -> pd.DataFrame:
    with np.load(bundle_folder / "features/histories.npz", allow_pickle=False) as columns:
        starts = np.cumsum(columns["lengths"])[:-1]
        values = {
            "user_id": columns["user_ids"],
            "item_ids": np.split(columns["records"]["item_id"], starts),
            "ratings": np.split(columns["records"]["rating"], starts),
        }
    return _frame(values)


def _frame(values: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(values | {"event_timestamp": pd.Timestamp.now(tz="UTC")})
