"""The training loop that all models share."""

from services.trainer.fit.loop import ALONE, FitConfig, FitResult, Loss, Task, Worker, fit

__all__ = ["ALONE", "FitConfig", "FitResult", "Loss", "Task", "Worker", "fit"]
