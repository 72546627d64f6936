"""Small random ranking bundles, and requests that fit them."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1.ranking_pb2 import RankRequest
from recstack.bundle import REQUIRED_FILES, BundleStore
from recstack.features.batch import History
from recstack.features.catalogue import Catalogue
from recstack.features.schema import PROFILE_SIZES
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.rankers import save_ranker
from services.ranking.scorer import RankQuery, Scorer

ITEM_IDS = np.arange(1, 201, dtype=np.int64) * 3
MAX_HISTORY = 20


def publish_bundle(store: BundleStore, work: Path, seed: int = 0, *, spoil: bool = False) -> str:
    """Publish and activate a bundle whose ranker has random weights; returns its version. spoil: corrupt a file."""
    rng = np.random.default_rng(seed)
    work.mkdir(parents=True, exist_ok=True)
    for name in REQUIRED_FILES:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(f"not read by the ranking service, {seed}")
    genres = rng.integers(1, 19, (len(ITEM_IDS), 6)).astype(np.uint8)
    years = rng.integers(1930, 2001, len(ITEM_IDS)).astype(np.int16)
    Catalogue(ITEM_IDS, years, genres, rng.random(len(ITEM_IDS)).astype(np.float32)).save(work / "catalogue.npz")
    torch.manual_seed(seed)
    model = DIEN(DIENConfig(num_items=len(ITEM_IDS), max_history=MAX_HISTORY))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_ranker(model, work / "ranking")
    manifest = store.publish(work, dataset="random", models={"ranking": "dien"}, metrics={})
    if spoil:
        # As a disk would: the pointer says active, the bytes do not match the manifest.
        (store.open(manifest.version).folder / "ranking" / "model.safetensors").write_bytes(b"spoiled")
        pointer = Path(store.url) / "active.json"
        pointer.write_text(json.dumps({"versions": [manifest.version]}))
        return manifest.version
    return store.activate(manifest.version).version


def offline_scores(store: BundleStore, version: str, request: RankRequest) -> NDArray[np.float32]:
    """Scores of a request by a bundle's ranker, without any server or batch."""
    history = request.history
    query = RankQuery(
        np.array([getattr(request.profile, name) for name in PROFILE_SIZES], np.int64),
        History(
            np.array(history.item_ids, np.int64),
            np.array(history.timestamps_ms, np.int64),
            np.array(history.ratings, np.float32),
        ),
        np.array(request.item_ids, np.int64),
    )
    return Scorer.load(store.open(version).folder).score([query])[0]


def rank_request(items: int = 30, steps: int = 12, seed: int = 0, **fields: int) -> RankRequest:
    """A valid request with random items and history."""
    rng = np.random.default_rng(seed)
    return RankRequest(
        profile=common_pb2.UserProfile(gender=1, age=3, occupation=5, region=2),
        history=common_pb2.History(
            item_ids=rng.choice(ITEM_IDS, steps).tolist(),
            timestamps_ms=range(1_000, 1_000 + steps),
            ratings=rng.integers(1, 6, steps).tolist(),
        ),
        item_ids=rng.choice(ITEM_IDS, items).tolist(),
        **fields,
    )
