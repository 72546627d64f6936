"""Training that dies by SIGKILL in the middle of an epoch, and goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from services.trainer.fit import fit
from services.trainer.fit.checkpoint import CHECKPOINT_FILE
from tests.helpers.killed_training import FATAL_STEP, SAVING
from tests.helpers.line_task import QUIET, LineTask

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("moment", ["step", "checkpoint"])
def test_a_killed_run_goes_on_to_the_very_same_weights(moment: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.killed_training", str(tmp_path / "killed"), moment]
    killed = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "shared:."}, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    saved = torch.load(tmp_path / "killed" / CHECKPOINT_FILE, weights_only=True)["state"]
    assert (saved["epoch"], saved["epoch_steps"], saved["step"]) == (2, FATAL_STEP - 8, FATAL_STEP)

    whole, resumed = LineTask(), LineTask()
    without_break = fit(whole, SAVING, tmp_path / "whole", QUIET)
    result = fit(resumed, SAVING, tmp_path / "killed", QUIET)
    assert len(resumed.epochs_seen) == 4
    assert [row["loss"] for row in result.history] == [row["loss"] for row in without_break.history]
    assert result.metrics == without_break.metrics
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)
