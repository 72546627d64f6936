"""Training on several processes of this machine with Ray Train: DistributedDataParallel, gloo on CPUs, NCCL on GPUs.

The trainer's only file that imports Ray. A Ray of its own is started for the run and leaves no process, port or file.
Checkpoints and metrics are in the run folder as always, so that a killed run goes on with any number of workers.
"""

import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

# Ray reads these when it is imported; what the user has set wins. The token is for this process's Rays alone: without
# one Ray makes a file in the home folder that all its clusters share.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A process that waits for a cloud to take the machine back.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

import psutil
import ray
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.util.queue import Queue
from rich.console import Console

from recstack.errors import InvalidRequestError, RecStackError
from services.trainer.fit.checkpoint import load_best_weights
from services.trainer.fit.config import FitConfig
from services.trainer.fit.loop import FitResult, fit
from services.trainer.fit.task import Task

TaskT = TypeVar("TaskT", bound=Task[Any])
CPUS_PER_WORKER = 0.5  # a number for Ray's books; what a worker uses is decided by its threads
STOP_SECONDS = 5.0
MAX_TEMP_PATH = 42  # Unix socket paths end at 107 bytes, of which Ray needs 65


def fit_on_workers(
    make_task: Callable[[], TaskT], config: FitConfig, run_dir: Path, console: Console, workers: int
) -> tuple[TaskT, FitResult]:
    """Fit the task that `make_task` makes, in `workers` processes that each make their own.

    Every worker computes its share of each batch, and their gradients are summed to those of the whole batch: the
    result is one process's, up to the order of sums, for models that treat each row alone. Dropout draws differ, and
    batch norm sees a share only. On GPUs each worker has one; CPU workers divide torch's threads among them.

    Returns a task of this process with the best weights. Raises RecStackError when a worker fails.
    """
    task = make_task()
    use_gpu = next(task.model.parameters()).device.type == "cuda"
    if use_gpu and workers > torch.cuda.device_count():
        raise InvalidRequestError(
            f"{workers} workers need a GPU each and torch sees {torch.cuda.device_count()}; use fewer, or the CPU"
        )
    with _local_ray(workers) as folder, _printer(console) as lines:
        order = {
            "make_task": ray.put(make_task),  # datasets in it are shared between the workers, not copied
            "config": config,
            "run_dir": run_dir.resolve(),
            "lines": lines,
            "threads": max(1, torch.get_num_threads() // workers),
        }
        trainer = TorchTrainer(
            _work,  # type: ignore[arg-type]  # Ray's stubs know no training function with a result
            train_loop_config=order,
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=use_gpu, resources_per_worker=_resources_of_a_worker(use_gpu)
            ),
            run_config=RunConfig(name="run", storage_path=str(folder / "results")),
        )
        try:
            result: FitResult = trainer.fit().return_value  # type: ignore[attr-defined]
        except WorkerGroupError as error:
            rank, failure = min(error.worker_failures.items())
            reason = str(failure).strip().splitlines()[-1]
            raise RecStackError(f"worker {rank} of {workers} failed: {reason}") from error
        except TrainingFailedError as error:
            raise RecStackError(f"training on {workers} workers failed: {error}") from error
    task.model.load_state_dict(load_best_weights(run_dir))
    task.model.eval()
    return task, result


def _resources_of_a_worker(use_gpu: bool) -> dict[str, float]:
    return {"CPU": CPUS_PER_WORKER, "GPU": 1.0} if use_gpu else {"CPU": CPUS_PER_WORKER}


def _work(order: dict[str, Any]) -> FitResult:
    """What a worker does. Ray Train has made its process group, which `fit` finds."""
    torch.set_num_threads(order["threads"])
    task: Task[Any] = ray.get(order["make_task"])()
    return fit(task, order["config"], order["run_dir"], Console(file=_LineSender(order["lines"])))


class _LineSender(io.StringIO):
    """A text file whose lines are printed by the process that started the workers."""

    def __init__(self, lines: Queue) -> None:
        super().__init__()
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.put(text)
        return len(text)


@contextmanager
def _printer(console: Console) -> Iterator[Queue]:
    """A queue whose texts appear on `console`, all of them by the end of the block."""
    lines = Queue(actor_options={"num_cpus": 0})

    def show() -> None:
        while (text := lines.get()) is not None:
            console.print(text, end="", markup=False, highlight=False, soft_wrap=True)

    thread = Thread(target=show, name="worker-lines", daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        lines.put(None)
        thread.join()


@contextmanager
def _local_ray(workers: int) -> Iterator[Path]:
    """A Ray on this machine with room for `workers`; yields a folder that is removed with all else in the end."""
    others = set(psutil.Process().children(recursive=True))
    parent = tempfile.gettempdir()
    name = f"recstack-ray-{secrets.token_hex(4)}"
    folder = Path(parent if len(parent) + 1 + len(name) <= MAX_TEMP_PATH else "/tmp", name)
    folder.mkdir(mode=0o700)
    try:
        ray.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
        )
        yield folder
    finally:
        started = set(psutil.Process().children(recursive=True)) - others
        ray.shutdown()
        _, alive = psutil.wait_procs(started, timeout=STOP_SECONDS)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
