"""Rankers by the name in their config.json, and the file with their item vectors beside it."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recstack.errors import BundleError
from recstack.models.ranker import Ranker
from recstack.models.storage import ModelRegistry, load_model, save_model

ITEM_VECTORS = "item_vectors.npy"

RANKERS: ModelRegistry[Ranker] = ModelRegistry(
    {
        "dien": "recstack.models.dien:DIEN:DIENConfig",
        "dien_notebook": "recstack.models.dien_notebook:NotebookDIEN:NotebookDIENConfig",
        "dcn": "recstack.models.dcn:DCN:DCNConfig",
        "simple_cf": "recstack.models.simple_cf:SimpleCF:SimpleCFConfig",
        "multimodal": "recstack.models.multimodal:Multimodal:MultimodalConfig",
        "two_tower": "recstack.models.two_tower_ranker:TwoTowerRanker:TwoTowerConfig",
        "ease": "recstack.models.ease:EASE:EASEConfig",
        "trend": "recstack.models.trend:Trend:TrendConfig",
    }
)


def save_ranker(model: Ranker, folder: Path, item_vectors_IE: Tensor) -> None:
    """Write a ranker's config, weights and item vectors (of `Ranker.encode_items`) into `folder`.

    The vectors are kept because what they are computed from, posters and titles for example, stays behind.
    """
    save_model(folder, RANKERS.name_of(model), model)
    np.save(folder / ITEM_VECTORS, item_vectors_IE.detach().float().cpu().numpy())


def load_ranker(folder: Path) -> Ranker:
    """The ranker that `save_ranker` wrote, in evaluation mode, on the CPU. BundleError when it does not fit."""
    return load_model(folder, RANKERS)


def load_item_vectors(folder: Path) -> Tensor:
    """The item vectors [I+1, E] that `save_ranker` wrote. BundleError when they cannot be read."""
    try:
        return torch.from_numpy(np.load(folder / ITEM_VECTORS, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / ITEM_VECTORS} is not readable: {error}; publish the bundle again") from error
