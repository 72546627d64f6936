"""The models that can be trained, by name: what each is for, its presets and its training function.

A model's task module is imported when it is needed, so that a mistyped name is told at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any

from torch import nn

from recstack.errors import InvalidRequestError
from services.trainer.fit import FitResult


class Role(StrEnum):
    """What a model does in a bundle."""

    RETRIEVAL = "retrieval"
    CONTENT = "content"
    RANKER = "ranker"


@dataclass(frozen=True, slots=True)
class Trainer:
    """A model that can be trained. name: of its module in `services.trainer.tasks`, which exports NAME_PRESETS and
    train_NAME."""

    name: str
    role: Role

    @property
    def presets(self) -> Mapping[str, Any]:
        """Presets by name."""
        presets: Mapping[str, Any] = getattr(self._module(), f"{self.name.upper()}_PRESETS")
        return presets

    def preset(self, name: str) -> Any:
        """The preset called `name`; InvalidRequestError lists those that exist."""
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise InvalidRequestError(f"{self.name} has no preset {name!r}; its presets are {known}")
        return self.presets[name]

    @property
    def train(self) -> Callable[..., tuple[nn.Module, FitResult]]:
        """train(dataset, split, preset, run_dir, device=, seed=, console=, workers=) -> (model, result)."""
        function: Callable[..., tuple[nn.Module, FitResult]] = getattr(self._module(), f"train_{self.name}")
        return function

    def _module(self) -> Any:
        return import_module(f"services.trainer.tasks.{self.name}")


TRAINERS: Mapping[str, Trainer] = {
    trainer.name: trainer
    for trainer in (
        Trainer("two_tower", Role.RETRIEVAL),
        Trainer("multimodal", Role.CONTENT),
        Trainer("simple_cf", Role.RANKER),
        Trainer("dien", Role.RANKER),
        Trainer("dcn", Role.RANKER),
    )
}


def find_trainer(name: str) -> Trainer:
    """The trainer of a model; dashes and underscores are the same. InvalidRequestError lists the models."""
    trainer = TRAINERS.get(name.replace("-", "_"))
    if trainer is None:
        raise InvalidRequestError(f"no model {name!r}; the models are {', '.join(TRAINERS)}")
    return trainer
