"""Small random ranking bundles, and requests that fit them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1.ranking_pb2 import RankRequest
from recstack.bundle import BundleStore, ranker_folder
from recstack.features.batch import History
from recstack.features.catalogue import Catalogue
from recstack.features.schema import PROFILE_SIZES
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.ranker import Prediction, Ranker
from recstack.models.rankers import save_ranker
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from services.ranking.scorer import RankQuery, Scorer
from tests.helpers.bundles import write_hollow_bundle, write_users

ITEM_IDS = np.arange(1, 201, dtype=np.int64) * 3
USER_IDS = range(1, 31)
MAX_HISTORY = 20


def random_catalogue(seed: int = 0) -> Catalogue:
    """ITEM_IDS with random years and genres."""
    rng = np.random.default_rng(seed)
    genres = rng.integers(1, 19, (len(ITEM_IDS), 6)).astype(np.uint8)
    years = rng.integers(1930, 2001, len(ITEM_IDS)).astype(np.int16)
    return Catalogue(ITEM_IDS, years, genres, rng.random(len(ITEM_IDS)).astype(np.float32))


def random_ranker(name: str, seed: int = 0) -> Ranker:
    """A ranker in eval mode whose scores differ clearly from item to item and from user to user."""
    torch.manual_seed(seed)
    items, users = len(ITEM_IDS), len(USER_IDS)
    makers: dict[str, Callable[[], Ranker]] = {
        "dien": lambda: DIEN(DIENConfig(num_items=items, max_history=MAX_HISTORY)),
        "simple_cf": lambda: SimpleCF(SimpleCFConfig(num_users=users, num_items=items, biases=True)),
        "simple_cf_binary": lambda: SimpleCF(SimpleCFConfig(num_users=users, num_items=items, binary=True)),
    }
    model = makers[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if model.prediction is Prediction.RATING:
        model.get_parameter("mean").data.fill_(3.0)  # within 1..5, where predictions are not clipped
    return model.eval()


def write_bundle(folder: Path, rankers: Mapping[str, Ranker], seed: int = 0) -> None:
    """All files of a bundle with these rankers; those that ranking does not read hold a line of text."""
    write_hollow_bundle(folder, f"not read by the ranking service, {seed}", rankers)
    write_users(folder, USER_IDS)
    catalogue = random_catalogue(seed)
    catalogue.save(folder / "catalogue.npz")
    for name, model in rankers.items():
        with torch.inference_mode():
            save_ranker(model, folder / ranker_folder(name), model.encode_items(catalogue.item_table()))


def publish_bundle(
    store: BundleStore,
    work: Path,
    seed: int = 0,
    *,
    spoil: bool = False,
    rankers: Mapping[str, Ranker] | None = None,
    weights: Mapping[str, float] | None = None,
) -> str:
    """Publish and activate a bundle, of a random DIEN if nothing else is given; returns its version.

    spoil: corrupt a file after publishing.
    """
    rankers = rankers or {"dien": random_ranker("dien", seed)}
    write_bundle(work, rankers, seed)
    weights = weights or dict.fromkeys(rankers, 1 / len(rankers))
    manifest = store.publish(work, dataset="random", models={"retrieval": "none"}, rankers=weights, metrics={})
    if spoil:
        # As a disk would: the pointer says active, the bytes do not match the manifest.
        folder = store.open(manifest.version).folder / ranker_folder(next(iter(rankers)))
        (folder / "model.safetensors").write_bytes(b"spoiled")
        # Written whole, as the store does: a server that reads it half written refuses that instead.
        pointer = Path(store.url) / "active.json"
        pointer.with_suffix(".new").write_text(json.dumps({"versions": [manifest.version]}))
        pointer.with_suffix(".new").replace(pointer)
        return manifest.version
    return store.activate(manifest.version).version


def offline_scores(store: BundleStore, version: str, request: RankRequest) -> NDArray[np.float32]:
    """Scores of a request by a bundle's rankers, without any server or batch."""
    history = request.history
    query = RankQuery(
        np.array([getattr(request.profile, name) for name in PROFILE_SIZES], np.int64),
        History(
            np.array(history.item_ids, np.int64),
            np.array(history.timestamps_ms, np.int64),
            np.array(history.ratings, np.float32),
        ),
        np.array(request.item_ids, np.int64),
        request.user_id,
    )
    return Scorer.load(store.open(version)).score([query])[0]


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
