"""Training a task in this process, or in several that share each batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from recstack.errors import InvalidRequestError
from services.trainer.fit.config import FitConfig
from services.trainer.fit.loop import FitResult, fit
from services.trainer.fit.task import Task

TaskT = TypeVar("TaskT", bound=Task[Any])


def train(
    make_task: Callable[[], TaskT],
    config: FitConfig,
    run_dir: Path,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[TaskT, FitResult]:
    """Make a task and fit it, as `services.trainer.fit.fit` does; the task's model has its best weights.

    With more than one of `workers`, that many processes make a task each and train together, on Ray Train: `make_task`
    and all that it holds must be picklable.
    """
    if workers < 1:
        raise InvalidRequestError(f"got {workers} workers; there must be 1 or more")
    console = console or Console()
    if workers > 1:
        from services.trainer.fit.distributed import fit_on_workers  # imports Ray, which takes seconds

        return fit_on_workers(make_task, config, run_dir, console, workers)
    task = make_task()
    return task, fit(task, config, run_dir, console)
