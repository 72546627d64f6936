"""The models by name: their presets, and the function that trains them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any


def trainer(model: str) -> tuple[Mapping[str, Any], Callable[..., tuple[Any, Any]]]:
    """Presets and training function of a model, for example "dien"."""
    task = import_module(f"services.trainer.tasks.{model}")
    return getattr(task, f"{model.upper()}_PRESETS"), getattr(task, f"train_{model}")


def preset_content(model: str, preset: str) -> dict[str, Any]:
    """A preset as plain content."""
    return asdict(trainer(model)[0][preset])
