"""Rankers by the name in their config.json."""

from pathlib import Path

from recstack.models.dien import DIEN, DIENConfig
from recstack.models.storage import load_model, save_model

RANKERS = {"dien": (DIEN, DIENConfig)}


def save_ranker(model: DIEN, folder: Path) -> None:
    """Write a ranker's config and weights into `folder`."""
    name = next(name for name, (kind, _) in RANKERS.items() if type(model) is kind)
    save_model(folder, name, model)


def load_ranker(folder: Path) -> DIEN:
    """The ranker that `save_ranker` wrote, in evaluation mode, on the CPU. BundleError when it does not fit."""
    return load_model(folder, RANKERS)
