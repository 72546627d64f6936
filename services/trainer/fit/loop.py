"""The training loop of every model: warm-up and cosine decay, early stopping, checkpoints, a time limit.

A model brings a `Task`; the loop knows nothing of its data. Only validation decides: when to stop and which weights
are kept. What is written under the run folder: config.json, metrics.jsonl (a row per epoch), checkpoint.pt.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import nn

from recstack.errors import RecStackError
from services.trainer.fit.checkpoint import TrainingState, load_checkpoint, save_checkpoint, seed_everything, write_json
from services.trainer.fit.config import FitConfig
from services.trainer.fit.optimizer import make_optimizer
from services.trainer.fit.progress import TrainingProgress
from services.trainer.fit.task import BatchT, Task

REPORT_EVERY_STEPS = 10
TaskT = TypeVar("TaskT", bound=Task[Any])


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a run came to. `metrics` are the validation metrics of the best epoch, whose weights the model now has."""

    metrics: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    samples_per_second: float
    history: tuple[dict[str, float], ...]


def train(
    make_task: Callable[[], TaskT], config: FitConfig, run_dir: Path, console: Console | None = None
) -> tuple[TaskT, FitResult]:
    """Make a task and fit it; the task's model has its best weights."""
    task = make_task()
    return task, fit(task, config, run_dir, console)


def fit(task: Task[BatchT], config: FitConfig, run_dir: Path, console: Console | None = None) -> FitResult:
    """Train `task.model` and leave its best weights in it.

    A `run_dir` with a checkpoint of the same configuration is resumed; one of another configuration starts over.
    Raises RecStackError when the loss stops being a number.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    described = {"task": task.name, "fit": asdict(config), "identity": dict(task.identity())}
    identity = json.dumps(described, sort_keys=True, default=str)
    seed_everything(config.seed)
    optimizer = make_optimizer(task.model, config)
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
    """Train one epoch, or the part of it that the time limit allows; returns the mean loss."""
    task.model.train()
    started, spent = time.perf_counter(), state.seconds
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    device_type = parameters[0].device.type
    loss_sum, samples, steps = torch.zeros(()), 0, 0
    for batch in task.batches(state.epoch):
        rate = config.rate_at(state.step / total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type, torch.bfloat16, enabled=config.precision == "bfloat16"):
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
    if _better(task, metrics, state.best_metrics):
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


def _better(task: Task[BatchT], metrics: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether `metrics` beat the best so far, which are empty before the first epoch."""
    metric = metrics[task.metric_name]
    if not math.isfinite(metric):
        raise RecStackError(f"validation of {task.name} gives {task.metric_name} = {metric}, it must be a number")
    if not best:
        return True
    return metric < best[task.metric_name] if task.lower_is_better else metric > best[task.metric_name]
