"""A training process that kills itself with SIGKILL: `python -m tests.helpers.killed_training FOLDER step|checkpoint`.

The run saves after every step. In its third epoch it dies in the middle of a step or of writing a checkpoint.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from services.trainer.fit import Loss, fit
from tests.helpers.line_task import CONFIG, QUIET, LineTask

FATAL_STEP = 11  # the last of four steps in the third epoch
SAVING = replace(CONFIG, checkpoint_seconds=1e-9, average_decay=0.9)


class DoomedTask(LineTask):
    """Dies in step FATAL_STEP, or while what came of that step is written."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment, self.steps = moment, 0

    def loss(self, batch: Tensor) -> Loss:
        loss = super().loss(batch)
        if self.steps == FATAL_STEP:
            if self.moment == "step":
                kill()
            os.fsync = lambda descriptor: kill()  # type: ignore[assignment]  # the whole file written, not yet swapped in
        self.steps += 1
        return loss


def kill() -> None:
    """What `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fit(DoomedTask(sys.argv[2]), SAVING, Path(sys.argv[1]), QUIET)
