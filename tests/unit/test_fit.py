"""The training loop on a problem small enough to know the answer: a line through points."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from recstack.errors import InvalidRequestError, RecStackError
from recstack.models.devices import resolve_device
from recstack.revision import git_revision
from services.trainer.fit import ALONE, FitConfig, Loss, Worker, fit
from services.trainer.fit.checkpoint import CHECKPOINT_FILE, TrainingState, save_checkpoint
from services.trainer.fit.optimizer import make_optimizer
from services.trainer.fit.randomness import generator_states
from services.trainer.fit.task import batches_from
from tests.helpers.line_task import CONFIG, QUIET, LineEpoch, LineTask


def test_fit_learns_and_keeps_the_best_weights(tmp_path: Path) -> None:
    task = LineTask(scores=[0.1, 0.5, 0.3, 0.2, 0.1, 0.1])
    result = fit(task, CONFIG, tmp_path, QUIET)
    assert result.best_epoch == 2
    assert result.metrics["negative_error"] == 0.5
    assert task.line.weight.item() == result.history[1]["weight"]
    assert task.line.weight.item() != result.history[-1]["weight"]
    assert not task.model.training
    assert result.samples_per_second > 0


def test_loss_goes_down_and_every_epoch_is_written(tmp_path: Path) -> None:
    result = fit(LineTask(), CONFIG, tmp_path, QUIET)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows == list(result.history)


def test_the_run_folder_says_what_was_run_where(tmp_path: Path) -> None:
    fit(LineTask(), CONFIG, tmp_path, QUIET)
    described = json.loads((tmp_path / "config.json").read_text())
    assert (described["task"], described["identity"]) == ("line", {"points": 32})
    assert (described["fit"]["learning_rate"], described["fit"]["seed"]) == (0.05, 3)
    assert described["environment"]["git_revision"] == git_revision()
    assert described["environment"]["torch"] == torch.__version__
    assert described["environment"]["device"] == "cpu"
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * picture.height


def test_a_run_resumed_within_an_epoch_may_have_batches_that_cannot_start_anywhere() -> None:
    assert list(batches_from([1, 2, 3, 4], 2)) == [3, 4]
    epoch = LineTask().batches(0)
    assert [batch.tolist() for batch in batches_from(epoch, 3)] == [epoch.points[3].tolist()]


def test_every_worker_has_a_share_of_every_batch() -> None:
    rows = np.arange(5)
    assert [Worker(rank, 2).share(rows).tolist() for rank in range(2)] == [[0, 2, 4], [1, 3]]
    assert [Worker(rank, 9).share(rows).tolist() for rank in range(2)] == [rows.tolist()] * 2


def test_early_stopping_waits_for_patience(tmp_path: Path) -> None:
    task = LineTask(scores=[0.5, 0.4, 0.45, 0.9, 0.9, 0.9])
    assert fit(task, replace(CONFIG, patience=2), tmp_path, QUIET).epochs == 3


def test_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = LineTask()
    fit(whole, CONFIG, tmp_path / "whole", QUIET)
    with pytest.raises(KeyboardInterrupt):
        fit(LineTask(stop_after=3), CONFIG, tmp_path / "killed", QUIET)
    resumed = LineTask()
    result = fit(resumed, CONFIG, tmp_path / "killed", QUIET)
    assert len(resumed.epochs_seen) == 3
    assert result.epochs == 6
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_checkpoint_of_another_configuration_is_not_used(tmp_path: Path) -> None:
    fit(LineTask(), CONFIG, tmp_path, QUIET)
    again = LineTask()
    fit(again, replace(CONFIG, learning_rate=0.01), tmp_path, QUIET)
    assert len(again.epochs_seen) == 6


def test_how_often_a_run_is_saved_may_change(tmp_path: Path) -> None:
    fit(LineTask(), CONFIG, tmp_path, QUIET)
    again = LineTask()
    fit(again, replace(CONFIG, checkpoint_seconds=5.0), tmp_path, QUIET)
    assert again.epochs_seen == []


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = fit(LineTask(), CONFIG, tmp_path, QUIET)
    again = LineTask()
    assert fit(again, CONFIG, tmp_path, QUIET).metrics == first.metrics
    assert again.epochs_seen == []


def test_half_written_checkpoint_does_not_replace_the_good_one(tmp_path: Path) -> None:
    task = LineTask()
    optimizer = torch.optim.AdamW(task.model.parameters())
    save_checkpoint(tmp_path, "a", task.model, optimizer, TrainingState(), [generator_states()])
    good = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path, "a", task.model, optimizer, TrainingState(), [{"python": lambda: None}])
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == good


def test_time_budget_stops_inside_an_epoch_and_still_validates(tmp_path: Path) -> None:
    result = fit(LineTask(), replace(CONFIG, max_minutes=1e-9), tmp_path, QUIET)
    assert result.epochs == 1
    assert "negative_error" in result.metrics


def test_a_loss_that_is_not_a_number_is_reported(tmp_path: Path) -> None:
    class Broken(LineTask):
        def loss(self, batch: Tensor) -> Loss:
            return Loss(super().loss(batch).total * math.nan, 1.0)

    with pytest.raises(RecStackError, match="lower the learning rate"):
        fit(Broken(), CONFIG, tmp_path, QUIET)


def test_rate_rises_then_falls() -> None:
    config = FitConfig(learning_rate=1.0, warmup=0.2)
    rates = [config.rate_at(progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.505, 0.01], abs=1e-6)
    assert replace(config, schedule="constant").rate_at(0.9) == 1.0


def test_the_lowest_error_is_kept_where_lower_is_better(tmp_path: Path) -> None:
    class ErrorTask(LineTask):
        lower_is_better = True

    result = fit(ErrorTask(scores=[0.5, 0.2, 0.3, 0.4, 0.4, 0.4]), CONFIG, tmp_path, QUIET)
    assert (result.best_epoch, result.metrics["negative_error"]) == (2, 0.2)


def test_a_validation_metric_that_is_not_a_number_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecStackError, match="negative_error = nan"):
        fit(LineTask(scores=[math.nan]), CONFIG, tmp_path, QUIET)


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)],
)
def test_optimizers_learn_and_decay_matrices_only(
    optimizer: Literal["adamw", "adam", "rmsprop"], kind: type, tmp_path: Path
) -> None:
    config = replace(CONFIG, optimizer=optimizer, weight_decay=0.01)
    made = make_optimizer(LineTask().model, config)
    assert type(made) is kind
    assert [group["weight_decay"] for group in made.param_groups] == [0.01, 0.0]
    history = fit(LineTask(), config, tmp_path, QUIET).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_bfloat16_is_for_the_loss_only(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    class Watched(LineTask):
        def loss(self, batch: Tensor) -> Loss:
            seen.append(self.model(batch).dtype)
            return super().loss(batch)

        def validate(self) -> dict[str, float]:
            seen.append(self.model(torch.ones(1, 1)).dtype)
            return super().validate()

    task = Watched()
    fit(task, replace(CONFIG, epochs=1, precision="bfloat16"), tmp_path, QUIET)
    assert seen == [torch.bfloat16] * 4 + [torch.float32]
    assert {value.dtype for value in task.model.state_dict().values()} == {torch.float32}


def test_the_clock_does_not_bend_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the minutes are gone after the first step; the rates are those of a run with all the time."""
    seconds = [0.0]

    class Slow(LineTask):
        def loss(self, batch: Tensor) -> Loss:
            seconds[0] = 100.0
            return super().loss(batch)

    patient = fit(LineTask(), CONFIG, tmp_path / "patient", QUIET)
    monkeypatch.setattr("time.perf_counter", lambda: seconds[0])
    hurried = fit(Slow(), replace(CONFIG, max_minutes=2.0), tmp_path / "hurried", QUIET)
    assert hurried.seconds == 100.0
    assert [row["weight"] for row in hurried.history] == [row["weight"] for row in patient.history]


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"learning_rate": -1.0},
        {"warmup": 1.0},
        {"patience": 0},
        {"weight_decay": -0.1},
        {"optimizer": "sgd"},
        {"precision": "int8"},
    ],
)
def test_impossible_configurations_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(bad))):
        FitConfig(**bad)


def test_device_names() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InvalidRequestError, match="gpu0"):
        resolve_device("gpu0")


def test_the_moving_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    """With a decay of 0.5 and one step per epoch, epoch n validates average(n) = (average(n-1) + weight(n)) / 2."""

    class OneStep(LineTask):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [self.line.weight.item()]

        def batches(self, epoch: int, worker: Worker = ALONE) -> LineEpoch:
            return LineEpoch(super().batches(epoch, worker).points[:1])

        def loss(self, batch: Tensor) -> Loss:
            self.weights.append(self.line.weight.item())
            return super().loss(batch)

    task = OneStep()
    result = fit(task, replace(CONFIG, epochs=30, patience=30, average_decay=0.5), tmp_path, QUIET)
    assert len(result.history) == 30
    for epoch in range(12, 29):  # from step 8 on the warm-up of the decay is over
        previous, validated = result.history[epoch - 1]["weight"], result.history[epoch]["weight"]
        stepped = task.weights[epoch + 2]  # the weight that the next epoch's loss saw: training went on from it
        assert validated == pytest.approx((previous + stepped) / 2, abs=1e-5)
    assert task.line.weight.item() == result.history[result.best_epoch - 1]["weight"]


def test_an_averaged_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    config = replace(CONFIG, average_decay=0.9)
    whole = LineTask()
    fit(whole, config, tmp_path / "whole", QUIET)
    with pytest.raises(KeyboardInterrupt):
        fit(LineTask(stop_after=3), config, tmp_path / "killed", QUIET)
    resumed = LineTask()
    fit(resumed, config, tmp_path / "killed", QUIET)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)
