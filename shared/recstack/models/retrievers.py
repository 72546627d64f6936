"""Retrieval models by the name in their config.json."""

from pathlib import Path

from recstack.models.storage import load_model, save_model
from recstack.models.two_tower import TwoTower, TwoTowerConfig

RETRIEVERS = {"two_tower": (TwoTower, TwoTowerConfig)}


def save_retriever(model: TwoTower, folder: Path) -> None:
    """Write a retrieval model's config and weights into `folder`."""
    name = next(name for name, (kind, _) in RETRIEVERS.items() if type(model) is kind)
    save_model(folder, name, model)


def load_retriever(folder: Path) -> TwoTower:
    """The model that `save_retriever` wrote, in evaluation mode, on the CPU. BundleError when it does not fit."""
    return load_model(folder, RETRIEVERS)
