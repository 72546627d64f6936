"""Training state on disk: one file, replaced atomically, so that a killed run goes on from its last checkpoint."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from services.trainer.fit.randomness import GeneratorStates

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(slots=True)
class TrainingState:
    """Where a run stands: everything that changes while it trains, beside the model and the optimizer.

    epoch: epochs finished. epoch_steps, epoch_loss: steps taken in the next one, and the sum of their losses. step:
    optimizer steps taken in all. seconds: time spent training and validating, of which train_seconds on training.
    best_metrics and best_weights belong to `best_epoch` (0 = none yet); history has one row per finished epoch.
    average: moving average of each trained weight by name; empty where none is kept.
    """

    epoch: int = 0
    epoch_steps: int = 0
    epoch_loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    average: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def update_average(self, model: nn.Module, decay: float) -> None:
        """Take the model's weights into the average after an optimizer step; nothing where `decay` is 0."""
        if decay == 0:
            return
        weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in weights.items()}
        # Early on the average follows closely, or it would remember the random start.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_([self.average[name] for name in weights], list(weights.values()), 1 - decay)

    @contextmanager
    def averaged(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averaged weights (its own where there is no average)."""
        own = {name: value.detach().clone() for name, value in model.named_parameters() if name in self.average}
        _assign(model, self.average)
        try:
            yield
        finally:
            _assign(model, own)


@torch.no_grad()
def _assign(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, value in model.named_parameters():
        if name in weights:
            value.copy_(weights[name])


def save_checkpoint(
    run_dir: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    generators: Sequence[GeneratorStates],
) -> None:
    """Write the whole training state under `run_dir` and swap it in with one rename.

    generators: the states of each worker's random generators, by rank.
    """
    content = {
        "identity": identity,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": {name: getattr(state, name) for name in TrainingState.__dataclass_fields__},
        "generators": list(generators),
    }
    partial = run_dir / (CHECKPOINT_FILE + ".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(run_dir / CHECKPOINT_FILE)


def load_checkpoint(
    run_dir: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[TrainingState, list[GeneratorStates]] | None:
    """Restore model and optimizer from `run_dir`; None when there is no checkpoint of this `identity`.

    Returns the state and the generators' states, by rank. A checkpoint of another configuration is left alone here and
    overwritten by the next `save_checkpoint`.
    """
    path = run_dir / CHECKPOINT_FILE
    if not path.exists():
        return None
    # weights_only: tensors and plain values, so that loading a file can never run code.
    content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if content["identity"] != identity:
        return None
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    state = TrainingState(**content["state"])
    device = next(model.parameters()).device
    state.average = {name: value.to(device) for name, value in state.average.items()}
    return state, content["generators"]


def load_best_weights(run_dir: Path) -> dict[str, Tensor]:
    """The weights of a run's best epoch so far, on the CPU."""
    content = torch.load(run_dir / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    weights: dict[str, Tensor] = content["state"]["best_weights"]
    return weights
