"""Where entrants are measured: the data, its splits, models trained once and used by all, and outcomes kept on disk."""

import fcntl
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.errors import RecStackError
from recstack.revision import git_revision
from services.trainer.evaluation.entrant import Entrant
from services.trainer.evaluation.outcome import Measurement, Outcome
from services.trainer.evaluation.splits import LEAVE_ONE_OUT, SPLITS
from services.trainer.evaluation.trainers import preset_content
from services.trainer.fit import FitResult
from services.trainer.trainers import find_trainer


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its best weights, and how its training went."""

    model: Any
    result: FitResult

    def complete(self, measured: Measurement) -> Measurement:
        """Test figures together with how the training went."""
        return replace(
            measured,
            seconds=self.result.seconds,
            samples_per_second=self.result.samples_per_second,
            history=self.result.history,
        )


class Bench:
    """Data with a folder that keeps runs and results, so that nothing is computed twice.

    sequences: the leave-one-out file of protocol S1, which is `dataset` itself where there is none. folder: `runs/` and
    `results/` are made in it, both by the dataset's name. console: where training reports.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        sequences: Dataset | None = None,
        device: str = "auto",
        console: Console | None = None,
    ) -> None:
        self.dataset, self.sequences, self.device = dataset, sequences or dataset, device
        self.folder, self.console = folder, console or Console()
        self._splits: dict[str, RowSplit] = {}

    def data(self, split: str) -> Dataset:
        """The data that a split of `SPLITS` is made of."""
        return self.sequences if split == LEAVE_ONE_OUT else self.dataset

    def split(self, name: str) -> RowSplit:
        """A split of `SPLITS` by name."""
        if name not in self._splits:
            self._splits[name] = SPLITS[name](self.data(name))
        return self._splits[name]

    def train(self, model: str, preset: str, split: str, seed: int) -> Trained:
        """`model` trained with `preset` on a split; a finished run is read back, an interrupted one goes on.

        Two processes that ask for the same run take turns, so that it is trained once.
        """
        trainer, data = find_trainer(model), self.data(split)
        content = json.dumps(preset_content(model, preset), sort_keys=True, default=str)
        key = hashlib.sha256(content.encode()).hexdigest()[:12]
        run = self.folder / "runs" / data.name / f"{model}-{preset}-{split}-{key}-seed{seed}"
        with _turn(run):
            trained, result = trainer.train(
                data,
                self.split(split),
                trainer.preset(preset),
                run,
                device=self.device,
                seed=seed,
                console=self.console,
            )
        return Trained(trained.eval(), result)

    def outcome(self, protocol: str, entrant: str, seed: int) -> Outcome:
        """The outcome that another entrant left. Raises RecStackError where there is none: see `Entrant.needs`."""
        outcome = Outcome.load(self._path(protocol, entrant, seed))
        if outcome is None:
            raise RecStackError(f"{protocol} {entrant} with seed {seed} was not measured yet; name it in `needs`")
        return outcome

    def finished(self, protocol: str, entrant: Entrant, seed: int) -> Outcome | None:
        """The outcome of `entrant` as it is now; None where there is none, or one of other settings or rows."""
        outcome = Outcome.load(self._path(protocol, entrant.name, seed))
        return outcome if outcome and outcome.key == self._key(entrant) else None

    def measure(self, protocol: str, entrant: Entrant, seed: int) -> Outcome:
        """Measure `entrant` and keep the outcome."""
        outcome = Outcome(
            protocol=protocol,
            entrant=entrant.name,
            seed=seed,
            key=self._key(entrant),
            settings=entrant.settings,
            measured=entrant.measure(self, seed),
            machine=machine(),
            threads=torch.get_num_threads(),
            git_revision=git_revision(),
        )
        outcome.save(self._path(protocol, entrant.name, seed))
        return outcome

    def _key(self, entrant: Entrant) -> str:
        split = self.split(entrant.split)
        sizes = (len(split.train), len(split.validation), len(split.test))
        return entrant.key(self.data(entrant.split).name, sizes)

    def _path(self, protocol: str, entrant: str, seed: int) -> Path:
        name = re.sub(r"[^a-zA-Z0-9]+", "-", entrant).strip("-")
        return self.folder / "results" / self.dataset.name / protocol / f"{name}-seed{seed}"


def machine() -> str:
    """Processor, cores and torch of this machine."""
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    accelerator = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores{accelerator}, torch {torch.__version__}"
    )


@contextmanager
def _turn(run: Path) -> Iterator[None]:
    """Hold a run folder alone; the system releases it even when the process is killed."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
