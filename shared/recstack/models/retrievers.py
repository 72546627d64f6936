"""Retrieval models by the name in their config.json."""

from pathlib import Path

from recstack.models.retriever import Retriever
from recstack.models.storage import ModelRegistry, load_model, save_model

RETRIEVERS: ModelRegistry[Retriever] = ModelRegistry(
    {
        "two_tower": "recstack.models.two_tower:TwoTower:TwoTowerConfig",
        "two_tower_notebook": "recstack.models.two_tower_notebook:NotebookTwoTower:NotebookTwoTowerConfig",
        "fused": "recstack.models.fused_retriever:FusedRetriever:FusedConfig",
        "two_tower_sequence": "recstack.models.two_tower_sequence:SequenceTwoTower:SequenceTwoTowerConfig",
    }
)


def save_retriever(model: Retriever, folder: Path) -> None:
    """Write a retrieval model's config and weights into `folder`."""
    save_model(folder, RETRIEVERS.name_of(model), model)


def load_retriever(folder: Path) -> Retriever:
    """The model that `save_retriever` wrote, in evaluation mode, on the CPU. BundleError when it does not fit."""
    return load_model(folder, RETRIEVERS)
