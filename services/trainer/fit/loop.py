"""The training loop of every model: warm-up and cosine decay, early stopping, checkpoints, a time limit.

A model brings a `Task`; the loop knows nothing of its data. Only validation decides: when to stop and which weights
are kept. The run folder then holds config.json (with git revision and machine), metrics.jsonl (a row per epoch),
curves.png and checkpoint.pt.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic

import torch
from rich.console import Console
from torch import Tensor, nn

from recstack.errors import RecStackError
from services.trainer.fit.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from services.trainer.fit.config import FitConfig
from services.trainer.fit.curves import draw_curves
from services.trainer.fit.optimizer import make_optimizer
from services.trainer.fit.progress import TrainingProgress
from services.trainer.fit.randomness import generator_states, restore_generators, seed_everything
from services.trainer.fit.run_folder import environment, write_text
from services.trainer.fit.task import BatchT, Task, batches_from
from services.trainer.fit.team import Team

REPORT_EVERY_STEPS = 10


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

    A `run_dir` with a checkpoint of the same configuration is resumed, in the middle of an epoch too, and comes to the
    same weights as if it had never been killed; one of another configuration starts over. In a process of a
    torch.distributed group all of them train together and share each batch; they must see the same `run_dir`.
    Raises RecStackError when the loss or the validation metric is no number.
    """
    return TrainingRun(task, config, run_dir).fit(console or Console())


class TrainingRun(Generic[BatchT]):
    """One training run: what learns, with what, and how far it is. `fit` is all of it; `step` and `validate` are for
    those who bring their own batches."""

    def __init__(self, task: Task[BatchT], config: FitConfig, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.task, self.config, self.run_dir = task, config, run_dir
        self.team = Team.current()
        self.described = {"task": task.name, "fit": asdict(config), "identity": dict(task.identity())}
        decisive = {**self.described, "fit": asdict(replace(config, checkpoint_seconds=1.0))}
        self.identity = json.dumps(decisive, sort_keys=True, default=str)
        self.parameters = [p for p in task.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(task.model, config)
        self.total_steps = config.epochs * len(task.batches(0))
        seed_everything(config.seed + self.team.worker.rank)
        self.state = TrainingState()
        if loaded := load_checkpoint(run_dir, self.identity, task.model, self.optimizer):
            self.state, generators = loaded
            for states in generators[self.team.worker.rank :][:1]:  # none when more workers go on than there were
                restore_generators(states)
        self.loss = self.team.loss_of(task)
        self.clock = self.saved_at = time.perf_counter()

    def fit(self, console: Console) -> FitResult:
        """Train to the end; see the function `fit`."""
        state, task = self.state, self.task
        if self.team.is_first:
            description = {**self.described, "environment": environment(task.model, self.team.worker.count)}
            write_text(self.run_dir / "config.json", json.dumps(description, indent=2, sort_keys=True, default=str))
        else:
            console = Console(quiet=True)
        with TrainingProgress(task.name, self.total_steps, state.step, console) as progress:
            while not self.team.from_first(self._finished()):
                row = self._end_epoch(self._train_epoch(progress))
                progress.epoch_done(row, self.config.epochs, task.metric_name, best=state.best_epoch == state.epoch)
                self._save()
                if self.team.is_first:
                    rows = "".join(json.dumps(row) + "\n" for row in state.history)
                    write_text(self.run_dir / "metrics.jsonl", rows)
        if self.team.is_first:
            curves = self.run_dir / "curves.png"
            draw_curves(curves, task.name, task.metric_name, state.best_epoch, state.history, self.config)
        task.model.load_state_dict(self.team.from_first(state.best_weights))
        task.model.eval()
        return FitResult(
            metrics=state.best_metrics,
            best_epoch=state.best_epoch,
            epochs=state.epoch,
            seconds=state.seconds,
            samples_per_second=state.samples / max(state.train_seconds, 1e-9),
            history=tuple(state.history),
        )

    def _finished(self) -> bool:
        state, config = self.state, self.config
        out_of_patience = state.epoch - state.best_epoch >= config.patience
        return state.epoch >= config.epochs or out_of_patience or self._out_of_time()

    def _out_of_time(self) -> bool:
        return self.state.seconds >= 60 * self.config.max_minutes

    def _train_epoch(self, progress: TrainingProgress) -> float:
        """Train one epoch, or what is left of it and the time limit allows; returns the mean loss."""
        task, state = self.task, self.state
        task.model.train()
        self.clock = time.perf_counter()
        for batch in batches_from(task.batches(state.epoch, self.team.worker), state.epoch_steps):
            save, stop = self.step(batch)
            if state.epoch_steps % REPORT_EVERY_STEPS == 0:
                progress.step(state.step, self._mean_loss(), state.samples / max(state.train_seconds, 1e-9))
            if stop:
                break
            if save:
                self._save()
        return self._mean_loss()

    def step(self, batch: BatchT) -> tuple[bool, bool]:
        """One optimizer step. Returns what follows from the clock: whether to save, whether to stop."""
        state, config = self.state, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate_at(state.step / self.total_steps)
        self.optimizer.zero_grad(set_to_none=True)
        device = self.parameters[0].device
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            total, weight = self.loss(batch)
        # The first worker's clock counts for all, or they would not stop at the same step.
        save_due = self.team.is_first and time.perf_counter() - self.saved_at >= config.checkpoint_seconds
        stop_due = self.team.is_first and self._out_of_time()
        whole_total, whole_weight, samples, save, stop = self.team.add(
            total.detach(), weight, self.task.samples(batch), save_due, stop_due
        )
        # The team averages gradients; times its size they are summed, which makes them those of the whole batch.
        (total * self.team.worker.count / whole_weight).backward()
        nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.optimizer.step()
        state.update_average(self.task.model, config.average_decay)
        state.epoch_loss = state.epoch_loss.to(device) + whole_total / whole_weight
        state.samples += int(samples)
        state.step += 1
        state.epoch_steps += 1
        state.train_seconds += self._spend()
        return bool(save), bool(stop)

    def validate(self) -> dict[str, float]:
        """Validation metrics of the weights that would be kept now: the averaged ones where there is an average."""
        return self._judge()[0]

    def _judge(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Validation metrics, and the weights that they are of."""
        task = self.task
        task.model.eval()
        with torch.no_grad(), self.state.averaged(task.model):
            metrics = self.team.from_first(task.validate() if self.team.is_first else {})
            weights = {name: value.detach().clone() for name, value in task.model.state_dict().items()}
        return metrics, weights

    def _end_epoch(self, loss: float) -> dict[str, float]:
        """Validate, keep the weights if they are the best so far, and add the finished epoch's row to the history."""
        task, state = self.task, self.state
        state.epoch, state.epoch_steps, state.epoch_loss = state.epoch + 1, 0, torch.zeros(())
        metrics, weights = self._judge()
        self._spend()
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

    def _save(self) -> None:
        generators = self.team.gather(generator_states())
        if self.team.is_first:
            save_checkpoint(self.run_dir, self.identity, self.task.model, self.optimizer, self.state, generators)
        self.saved_at = time.perf_counter()

    def _spend(self) -> float:
        """Seconds since the last call, taken into the state."""
        now = time.perf_counter()
        spent, self.clock = now - self.clock, now
        self.state.seconds += spent
        return spent

    def _mean_loss(self) -> float:
        loss = self.state.epoch_loss.item() / max(self.state.epoch_steps, 1)
        if not math.isfinite(loss):
            raise RecStackError(
                f"the loss of {self.task.name} is {loss} at step {self.state.step}, it must be a number; lower the "
                f"learning rate"
            )
        return loss


def _better(task: Task[BatchT], metrics: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether `metrics` beat the best so far, which are empty before the first epoch."""
    metric = metrics[task.metric_name]
    if not math.isfinite(metric):
        raise RecStackError(f"validation of {task.name} gives {task.metric_name} = {metric}, it must be a number")
    if not best:
        return True
    return metric < best[task.metric_name] if task.lower_is_better else metric > best[task.metric_name]
