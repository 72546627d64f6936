"""The training loop that all models share."""

from services.trainer.fit.config import FitConfig
from services.trainer.fit.loop import FitResult, TrainingRun, fit
from services.trainer.fit.randomness import seed_everything
from services.trainer.fit.task import ALONE, Batches, Loss, Task, Worker
from services.trainer.fit.train import train

__all__ = [
    "ALONE",
    "Batches",
    "FitConfig",
    "FitResult",
    "Loss",
    "Task",
    "TrainingRun",
    "Worker",
    "fit",
    "seed_everything",
    "train",
]
