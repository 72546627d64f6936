"""What a model brings to the training loop.

A training function, the one thing that the rest of the trainer calls, is always of this form:

    def train_model(dataset, split, preset, run_dir, device="auto", seed=0, console=None, workers=1):
        def make_task() -> ModelTask:
            return ModelTask(dataset, split, preset, resolve_device(device), seed)

        task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
        return task.model, result

(DIEN's and DCN's `make_task` are functions of their modules, so that a benchmark can train the same task step by step.)
Each worker of a run makes its own task with it, so the task's constructor seeds and makes the model. What `make_task`
holds (the dataset) is given to all workers of a machine in shared memory, read-only.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)
ScalarT = TypeVar("ScalarT", bound=np.generic)


class Batches(Protocol[BatchT_co]):
    """One epoch's batches: an iterable that knows its length."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchT_co]: ...


@runtime_checkable
class SeekableBatches(Batches[BatchT_co], Protocol):
    """Batches that can start anywhere, so that a run resumed in the middle of an epoch need not make those before."""

    def starting_at(self, batch: int) -> Iterator[BatchT_co]:
        """The same batches from number `batch` on, counted from 0."""
        ...


def batches_from(batches: Batches[BatchT], first: int) -> Iterator[BatchT]:
    """The batches from number `first` on; those before are made and thrown away where that cannot be helped."""
    if isinstance(batches, SeekableBatches):
        return batches.starting_at(first)
    return itertools.islice(batches, first, None)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` processes that train together; `rank` counts from 0."""

    rank: int = 0
    count: int = 1

    def share(self, rows: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """This worker's rows of a batch: every `count`-th one.

        Of fewer rows than workers each gets all, so that none is without: counted `count` times, their mean is the
        same.
        """
        return rows[self.rank :: self.count] if len(rows) >= self.count else rows


ALONE = Worker()


@dataclass(frozen=True, slots=True)
class Loss:
    """A batch's loss as a sum and the weight it is to be divided by, so that parts of a batch add up exactly.

    total: scalar with a gradient. weight: what the mean divides by, for example the number of targets.
    """

    total: Tensor
    weight: Tensor | float


class Task(Protocol[BatchT]):
    """A model with its data. The model is already on its device; the task moves batches there itself.

    metric_name is the key of `validate`'s result that decides which weights are the best; lower_is_better says in which
    direction: False for AUC or recall, True for an error such as RMSE. Metrics are reported as they are, never negated.
    """

    name: str
    metric_name: str
    lower_is_better: bool

    @property
    def model(self) -> nn.Module:
        """What is trained, in place."""
        ...

    def identity(self) -> Mapping[str, object]:
        """What decides the run beside FitConfig (model config, data, sampling); a checkpoint of another is not used."""
        ...

    def batches(self, epoch: int, worker: Worker = ALONE) -> Batches[BatchT]:
        """`worker`'s share of each batch of one epoch.

        Decided by the task's seed and `epoch` alone, so that a resumed run sees the same; each batch is the same for
        any number of workers, of which each gets a part (`Worker.share`). All that is drawn for a batch is therefore
        drawn for the whole batch, and shared afterwards.
        """
        ...

    def samples(self, batch: BatchT) -> int:
        """Training examples (targets) in a batch, for the samples/s figure."""
        ...

    def loss(self, batch: BatchT) -> Loss:
        """Loss of a batch. Called with the model in training mode."""
        ...

    def validate(self) -> dict[str, float]:
        """Validation metrics, `metric_name` among them. Called in eval mode without gradients."""
        ...
