"""Small random catalogues and bundles for the retrieval service's tests."""

from pathlib import Path

import numpy as np
import torch

from recstack.bundle import CONTENT, RETRIEVAL, BundleStore
from recstack.features.catalogue import Catalogue
from recstack.models.multimodal import Multimodal, MultimodalConfig
from recstack.models.rankers import save_ranker
from recstack.models.retrieval_index import IndexKind, build_index, save_index
from recstack.models.retrievers import save_retriever
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from tests.helpers.bundles import write_hollow_bundle, write_users

USER_IDS = range(1, 51)


def random_catalogue(items: int, seed: int = 0) -> Catalogue:
    """Ids with gaps, years 1930..2000 or unknown, one to six genres, popularity with ties."""
    rng = np.random.default_rng(seed)
    genres = np.zeros((items, 6), np.uint8)
    for row in range(items):
        count = rng.integers(1, 7)
        genres[row, :count] = rng.choice(np.arange(1, 19), count, replace=False)
    years = np.where(rng.random(items) < 0.1, 0, rng.integers(1930, 2001, items)).astype(np.int16)
    popularity = rng.integers(0, max(2, items // 4), items).astype(np.float32)
    return Catalogue(np.cumsum(rng.integers(1, 4, items)).astype(np.int64), years, genres, popularity)


def random_model(items: int, seed: int = 0) -> TwoTower:
    """A two-tower model in eval mode whose vectors differ clearly from item to item and from user to user."""
    torch.manual_seed(seed)
    model = TwoTower(TwoTowerConfig(num_items=items, vector_dim=16, width=16, max_history=20))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def random_content_model(items: int, seed: int = 0) -> Multimodal:
    """A content model in eval mode whose ratings differ clearly from item to item and from profile to profile."""
    torch.manual_seed(seed)
    model = Multimodal(MultimodalConfig(num_items=items, vocabulary=(), modalities=("genres", "year"), vector_dim=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def write_bundle(
    folder: Path,
    items: int,
    seed: int = 0,
    *,
    index_items: int | None = None,
    lists: bool = False,
    content: bool = False,
) -> None:
    """All files of a bundle; those that retrieval does not read hold a line of text.

    index_items: hold another number of items in the index than in the catalogue. lists: index as if it were large.
    content: with a content model, and 0, 1, 2, … interactions of the items in the catalogue's order.
    """
    write_hollow_bundle(folder, f"not read by the retrieval service, {seed}", content=content)
    write_users(folder, USER_IDS)
    catalogue = random_catalogue(items, seed)
    catalogue.save(folder / "catalogue.npz")
    model = random_model(items, seed)
    save_retriever(model, folder / "retrieval")
    with torch.inference_mode():
        vectors = model.encode_items(catalogue.item_table())[1:].numpy()
    np.save(folder / "retrieval/item_vectors.npy", vectors)
    index = build_index(vectors[:index_items], IndexKind.LISTS if lists else IndexKind.EXACT)
    for name in ("index.faiss", "similar.faiss"):
        save_index(index, folder / "retrieval" / name)
    if content:
        model = random_content_model(items, seed)
        save_ranker(model, folder / CONTENT, model.encode_items(catalogue.item_table()))
        np.save(folder / CONTENT / "interactions.npy", np.arange(items, dtype=np.int64))


def publish_bundle(
    store: BundleStore,
    folder: Path,
    items: int,
    seed: int = 0,
    *,
    index_items: int | None = None,
    lists: bool = False,
    content: bool = False,
) -> str:
    """Publish and activate a random bundle; returns its version."""
    write_bundle(folder, items, seed, index_items=index_items, lists=lists, content=content)
    models = {RETRIEVAL: "two_tower"} | ({CONTENT: "multimodal"} if content else {})
    manifest = store.publish(folder, dataset="random", models=models, rankers={"dien": 1.0}, metrics={})
    return store.activate(manifest.version).version
