"""Training on two workers of a real Ray: the weights of one process, and nothing left behind.

Run by test_fit_distributed.py, in a process of its own.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console
from torch import Tensor

from recstack.data.splits import temporal_rows, temporal_split
from recstack.data.synthetic import synthetic_world
from recstack.errors import InvalidRequestError, RecStackError
from recstack.models.dien import DIENConfig
from services.trainer.fit import FitConfig, Loss, train
from services.trainer.tasks.dien import DIEN_PRESETS, train_dien
from tests.helpers.line_task import CONFIG, QUIET, LineTask


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test leaves no process that it started and no temporary file."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        before = set(psutil.Process().children(recursive=True))
        yield
        assert set(psutil.Process().children(recursive=True)) <= before
        assert [path for path in Path(folder).iterdir() if not path.name.startswith("torchinductor")] == []


def test_two_workers_come_to_the_weights_of_one(tmp_path: Path) -> None:
    """In batches of 9 points, of which one worker has 5 and the other 4; a killed run goes on with other workers."""
    alone, whole = train(lambda: LineTask(dropout=0.0), CONFIG, tmp_path / "alone", QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(lambda: LineTask(dropout=0.0, stop_after=3), CONFIG, tmp_path / "together", QUIET)
    with (tmp_path / "printed").open("w+") as printed:
        together, shared = train(
            lambda: LineTask(dropout=0.0), CONFIG, tmp_path / "together", Console(file=printed), workers=2
        )
        printed.seek(0)
        assert [line.split("  ")[1] for line in printed] == ["epoch 4/6", "epoch 5/6", "epoch 6/6"]
    assert [row["loss"] for row in shared.history] == pytest.approx([row["loss"] for row in whole.history], rel=1e-5)
    assert shared.metrics == pytest.approx(whole.metrics, rel=1e-5)
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(together.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_two_workers_train_dien_as_one_does(tmp_path: Path) -> None:
    world = synthetic_world(seed=2, users=60, items=60, events=1_500)
    split = temporal_rows(temporal_split(world))
    fit = FitConfig(epochs=2, learning_rate=1e-3, average_decay=0.9)
    tiny = DIENConfig(num_items=1, hidden=8, dropout=0.0)
    preset = dataclasses.replace(DIEN_PRESETS["quick"], fit=fit, batch_targets=256, config=tiny)
    alone, whole = train_dien(world, split, preset, tmp_path / "alone", "cpu", console=QUIET)
    together, shared = train_dien(world, split, preset, tmp_path / "together", "cpu", console=QUIET, workers=2)
    assert shared.metrics == pytest.approx(whole.metrics, abs=1e-4)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_what_went_wrong_in_a_worker_is_said(tmp_path: Path) -> None:
    class Broken(LineTask):
        def loss(self, batch: Tensor) -> Loss:
            return Loss(super().loss(batch).total * torch.nan, 1.0)

    with pytest.raises(RecStackError, match=r"of 2 failed: .*lower the learning rate"):
        train(Broken, replace(CONFIG, epochs=1), tmp_path, QUIET, workers=2)


def test_there_must_be_a_worker(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="0 workers"):
        train(LineTask, CONFIG, tmp_path, QUIET, workers=0)
