"""How a model is trained: the values, their checks, and the learning rate they mean at each step."""

import math
from dataclasses import dataclass
from typing import Literal

from recstack.errors import InvalidRequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How long and how fast to learn.

    optimizer: weight_decay is decoupled in "adamw" (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019)
    and added to the gradient in "adam" and "rmsprop", where it is L2 with the penalty weight_decay / 2 · |w|². It is on
    matrices only; penalties on chosen weights belong into a task's loss.

    precision: "bfloat16" computes `Task.loss` under autocast; weights, optimizer and validation stay float32.

    schedule: by optimizer steps alone, of `epochs` × steps per epoch; warmup: fraction of them with a linearly rising
    rate. The clock never bends it, so that a run is the same on any machine: max_minutes is a hard stop that cuts a run
    off where it is, at whatever rate. Choose `epochs` for the time you have, and max_minutes well above it.

    patience: epochs without a better validation metric after which training stops. clip_norm: largest gradient norm.

    average_decay: above 0, what is validated and kept is the moving average of the weights, of which each step keeps
    this share (Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992).

    checkpoint_seconds: a run is saved after each epoch and this often within one; no part of what the run comes to.
    """

    epochs: int = 10
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    patience: int = 3
    max_minutes: float = 60.0
    clip_norm: float = 5.0
    average_decay: float = 0.0
    checkpoint_seconds: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "patience", "max_minutes", "clip_norm", "checkpoint_seconds"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"FitConfig.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidRequestError(f"FitConfig.{name} is {getattr(self, name)}; it must be from 0 to below 1")
        if self.weight_decay < 0:
            raise InvalidRequestError(f"FitConfig.weight_decay is {self.weight_decay}; it must be 0 or more")
        for name, known in (("optimizer", ("adamw", "adam", "rmsprop")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise InvalidRequestError(f"FitConfig.{name} is {getattr(self, name)!r}; choose one of {known}")

    def rate_at(self, progress: float) -> float:
        """Learning rate at `progress` (0 = first step, 1 = end of the last epoch)."""
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, 0.01)
        if self.schedule == "constant":
            return self.learning_rate
        decayed = min(1.0, (progress - self.warmup) / (1.0 - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * decayed)))
