"""Put trained models, catalogue, index, features and golden scores into one folder, and publish it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from recstack.bundle import BundleStore, Manifest
from recstack.data import Dataset, UserSequences
from recstack.features.loader import write_feature_files
from recstack.models.dien import DIEN
from recstack.models.rankers import save_ranker
from recstack.models.retrieval_index import build_index, save_index
from recstack.models.retrievers import save_retriever
from recstack.models.two_tower import TwoTower
from services.trainer.golden import write_golden
from services.trainer.items import make_catalogue


def publish(
    store: BundleStore, dataset: Dataset, two_tower: TwoTower, ranker: DIEN, metrics: Mapping[str, float]
) -> Manifest:
    """Publish the models with everything they need to serve. Not yet active: see `BundleStore.activate`.

    The feature files hold all events, later ones than the models were trained on included: that is what is known
    when they serve.
    """
    with TemporaryDirectory(prefix="recstack-bundle-") as name:
        folder = Path(name)
        write_bundle(folder, dataset, two_tower, ranker)
        models = {"retrieval": "two_tower", "ranking": "dien"}
        return store.publish(folder, dataset=dataset.name, models=models, metrics=metrics)


def write_bundle(folder: Path, dataset: Dataset, two_tower: TwoTower, ranker: DIEN) -> None:
    """Write all files of a bundle except its manifest into `folder`."""
    catalogue = make_catalogue(dataset)
    catalogue.save(folder / "catalogue.npz")

    save_retriever(two_tower, folder / "retrieval")
    with torch.inference_mode():
        vectors = two_tower.encode_items(catalogue.item_table())[1:].float().cpu().numpy()
    np.save(folder / "retrieval/item_vectors.npy", vectors)
    save_index(build_index(vectors), folder / "retrieval/index.faiss")

    save_ranker(ranker, folder / "ranking")
    write_feature_files(folder, dataset)
    sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
    write_golden(folder / "golden.npz", dataset, sequences, catalogue, ranker)
