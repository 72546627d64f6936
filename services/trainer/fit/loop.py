"""The training loop of every model: AdamW, warm-up and cosine decay, early stopping, checkpoints, a time budget.

A model brings a `Task`; the loop knows nothing of its data. Only validation decides: when to stop and which weights
are kept. What is written under the run folder: config.json, metrics.jsonl (a row per epoch), checkpoint.pt.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from recstack.errors import InvalidRequestError, RecStackError
from services.trainer.fit.checkpoint import TrainingState, load_checkpoint, save_checkpoint, seed_everything, write_json
from services.trainer.fit.progress import TrainingProgress

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)
RowsT = TypeVar("RowsT", bound=NDArray[Any])
REPORT_EVERY_STEPS = 10


class Batches(Protocol[BatchT_co]):
    """One epoch's batches: an iterable that knows its length."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchT_co]: ...


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` processes that train together; `rank` counts from 0."""

    rank: int = 0
    count: int = 1

    def share(self, rows: RowsT) -> RowsT:
        """This worker's rows of a batch: every `count`-th one."""
        return rows[self.rank :: self.count]


ALONE = Worker()


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch's loss as a sum and the weight it is to be divided by, so that parts of a batch add up exactly.

    total: scalar with a gradient. weight: what the mean divides by, for example the number of targets.
    """

    total: Tensor
    weight: Tensor | float


class Task(Protocol[BatchT]):
    """A model with its data. The model is already on its device; the task moves batches there itself.

    metric_name is the key of `validate`'s result that decides (higher is better).
    """

    name: str
    metric_name: str

    @property
    def model(self) -> nn.Module:
        """What is trained, in place."""
        ...

    def identity(self) -> Mapping[str, object]:
        """What decides the run beside FitConfig (model config, data, sampling); a checkpoint of another is not used."""
        ...

    def batches(self, epoch: int, worker: Worker = ALONE) -> Batches[BatchT]:
        """`worker`'s share of each batch of one epoch.

        Decided by the task's seed and `epoch` alone, so that a resumed run sees the same; each batch is the same for
        any number of workers, of which each gets a part (`Worker.share`).
        """
        ...

    def samples(self, batch: BatchT) -> int:
        """Training examples (targets) in a batch, for the samples/s figure."""
        ...

    def loss(self, batch: BatchT) -> Loss:
        """Loss of a batch. Called with the model in training mode."""
        ...

    def validate(self) -> dict[str, float]:
        """Validation metrics, `metric_name` among them. Called in eval mode without gradients."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How long and how fast to learn.

    warmup: fraction of the run with a linearly rising rate. patience: epochs without a better validation metric after
    which training stops. max_minutes: wall clock after which it stops too; the cosine schedule follows whichever is
    used up first, epochs or minutes, so a slow machine still ends with a low rate. clip_norm: largest gradient norm.
    average_decay: above 0, what is validated and kept is the moving average of the weights, of which each step keeps
    this share (Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992).
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    patience: int = 3
    max_minutes: float = 30.0
    clip_norm: float = 5.0
    average_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "patience", "max_minutes", "clip_norm"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"FitConfig.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidRequestError(f"FitConfig.{name} is {getattr(self, name)}; it must be from 0 to below 1")

    def rate_at(self, progress: float) -> float:
        """Learning rate at `progress` (0 = start, 1 = end of the run)."""
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, 0.01)
        if self.schedule == "constant":
            return self.learning_rate
        decayed = min(1.0, (progress - self.warmup) / (1.0 - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * decayed)))


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run came to. `metrics` are the validation metrics of the best epoch, whose weights the model now has."""

    metrics: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    samples_per_second: float
    history: tuple[dict[str, float], ...]


def fit(task: Task[BatchT], config: FitConfig, run_dir: Path, console: Console | None = None) -> FitResult:
    """Train `task.model` and leave its best weights in it.

    A `run_dir` with a checkpoint of the same configuration is resumed; one of another configuration starts over.
    Raises RecStackError when the loss stops being a number.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    described = {"task": task.name, "fit": asdict(config), "identity": dict(task.identity())}
    identity = json.dumps(described, sort_keys=True, default=str)
    seed_everything(config.seed)
    optimizer = _optimizer(task.model, config)
    state = load_checkpoint(run_dir, identity, task.model, optimizer) or TrainingState()
    write_json(run_dir / "config.json", json.loads(identity))
    total_steps = config.epochs * len(task.batches(0))
    with TrainingProgress(task.name, total_steps, state.step, console or Console()) as progress:
        while not _finished(state, config):
            loss = _train_epoch(task, config, optimizer, state, total_steps, progress)
            row = _validate(task, state, loss)
            progress.epoch_done(row, config.epochs, task.metric_name, best=state.best_epoch == state.epoch)
            save_checkpoint(run_dir, identity, task.model, optimizer, state)
            (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in state.history))
    task.model.load_state_dict(state.best_weights)
    task.model.eval()
    return FitResult(
        metrics=state.best_metrics,
        best_epoch=state.best_epoch,
        epochs=state.epoch,
        seconds=state.seconds,
        samples_per_second=state.samples / max(state.train_seconds, 1e-9),
        history=tuple(state.history),
    )


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: decaying biases and norms shrinks what they are there to shift."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _finished(state: TrainingState, config: FitConfig) -> bool:
    out_of_patience = state.epoch - state.best_epoch >= config.patience
    return state.epoch >= config.epochs or out_of_patience or _out_of_time(state.seconds, config)


def _out_of_time(seconds: float, config: FitConfig) -> bool:
    return seconds >= 60 * config.max_minutes


def _train_epoch(
    task: Task[BatchT],
    config: FitConfig,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    total_steps: int,
    progress: TrainingProgress,
) -> float:
    """Train one epoch, or the part of it that the time budget allows; returns the mean loss."""
    task.model.train()
    started, spent = time.perf_counter(), state.seconds
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    loss_sum, samples, steps = torch.zeros(()), 0, 0
    for batch in task.batches(state.epoch):
        rate = config.rate_at(max(state.step / total_steps, state.seconds / (60 * config.max_minutes)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        part = task.loss(batch)
        loss = part.total / part.weight
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        state.update_average(task.model, config.average_decay)
        loss_sum = loss_sum.to(loss.device) + loss.detach()
        samples += task.samples(batch)
        steps += 1
        state.step += 1
        elapsed = time.perf_counter() - started
        state.seconds = spent + elapsed
        if steps % REPORT_EVERY_STEPS == 0:
            progress.step(state.step, _finite(loss_sum.item() / steps, task.name, state), samples / elapsed)
        if _out_of_time(state.seconds, config):
            break
    state.samples += samples
    state.train_seconds += state.seconds - spent
    state.epoch += 1
    return _finite(loss_sum.item() / max(steps, 1), task.name, state)


def _finite(loss: float, name: str, state: TrainingState) -> float:
    if not math.isfinite(loss):
        raise RecStackError(
            f"the loss of {name} is {loss} at step {state.step}, it must be a number; lower the learning rate. "
            f"The run folder still holds the last good epoch"
        )
    return loss


def _validate(task: Task[BatchT], state: TrainingState, loss: float) -> dict[str, float]:
    """Validate, keep the weights if they are the best so far, and add the epoch's row to the history."""
    task.model.eval()
    started = time.perf_counter()
    with torch.no_grad(), state.averaged(task.model):
        metrics = task.validate()
        weights = {name: value.detach().clone() for name, value in task.model.state_dict().items()}
    state.seconds += time.perf_counter() - started
    best_metric = state.best_metrics.get(task.metric_name, -math.inf)
    if metrics[task.metric_name] > best_metric:
        state.best_epoch, state.best_metrics, state.best_weights = state.epoch, metrics, weights
    row = {
        "epoch": float(state.epoch),
        "loss": loss,
        "seconds": state.seconds,
        "samples_per_second": state.samples / max(state.train_seconds, 1e-9),
        **metrics,
    }
    state.history.append(row)
    return row
