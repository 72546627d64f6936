"""The processes that train one model together, seen from one of them; on its own, a process is a team of one.

Knows torch.distributed, not who started the processes (Ray Train here: `services.trainer.fit.distributed`).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from services.trainer.fit.task import ALONE, BatchT, Task, Worker

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Team:
    """Sums and messages between workers. All of them must make the same calls in the same order.

    Buffers are not exchanged: batch norm sees its worker's rows only, and the first worker's statistics are kept.
    """

    worker: Worker

    @classmethod
    def current(cls) -> "Team":
        """The team of this process: torch's default process group where there is one."""
        return cls(Worker(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE)

    @property
    def is_first(self) -> bool:
        """Whether this worker validates, writes and prints for all."""
        return self.worker.rank == 0

    def add(self, *values: Tensor | float) -> tuple[Tensor | float, ...]:
        """Each value summed over the workers, as float64 scalars; a team of one gets its own back."""
        if self.worker.count == 1:
            return values
        device = next((value.device for value in values if isinstance(value, Tensor)), None)
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device) for value in values])
        dist.all_reduce(sums)
        return sums.unbind()

    def from_first(self, value: ValueT) -> ValueT:
        """The first worker's value."""
        if self.worker.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box)
        return box[0]  # type: ignore[no-any-return]

    def gather(self, value: ValueT) -> list[ValueT]:
        """Every worker's value, by rank."""
        if self.worker.count == 1:
            return [value]
        values: list[Any] = [None] * self.worker.count
        dist.all_gather_object(values, value)
        return values

    def loss_of(self, task: Task[BatchT]) -> nn.Module:
        """`task.loss` as a module of (total, weight), whose backward pass averages gradients over the workers.

        Starts by giving every worker the first one's weights.
        """
        loss = _TaskLoss(task)
        if self.worker.count == 1:
            return loss
        # A worker's share may leave a part of the model unused, such as a branch for the items with a picture.
        return DistributedDataParallel(loss, find_unused_parameters=True, broadcast_buffers=False)


class _TaskLoss(nn.Module):
    """A task's loss in the form that DistributedDataParallel takes."""

    def __init__(self, task: Task[Any]) -> None:
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, batch: object) -> tuple[Tensor, Tensor | float]:
        loss = self._task.loss(batch)
        return loss.total, loss.weight
