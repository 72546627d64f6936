"""A task small enough to know the answer: a line through points."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor, nn

from services.trainer.fit import ALONE, FitConfig, Loss, Worker

QUIET = Console(quiet=True)
CONFIG = FitConfig(epochs=6, learning_rate=0.05, patience=6, warmup=0.1, seed=3)


@dataclass(frozen=True, slots=True)
class LineEpoch:
    """Batches of points [8, 1] on the x axis; can start anywhere."""

    points: Tensor

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Tensor]:
        return self.starting_at(0)

    def starting_at(self, batch: int) -> Iterator[Tensor]:
        """The batches from number `batch` on."""
        return iter(self.points[batch:])


class LineTask:
    """y = 2x + 1, learned with dropout on x unless told otherwise: resuming is exact only with torch's generator.

    scores: what validation is to report in place of the negative error. stop_after: validations before one that ends
    with a KeyboardInterrupt.
    """

    name = "line"
    metric_name = "negative_error"
    lower_is_better = False

    def __init__(self, scores: list[float] | None = None, stop_after: int | None = None, dropout: float = 0.2) -> None:
        torch.manual_seed(0)
        self.line = nn.Linear(1, 1)
        self.model: nn.Module = nn.Sequential(nn.Dropout(dropout), self.line)
        self.scores, self.stop_after = scores, stop_after
        self.epochs_seen: list[int] = []

    def identity(self) -> Mapping[str, object]:
        return {"points": 32}

    def batches(self, epoch: int, worker: Worker = ALONE) -> LineEpoch:
        points = torch.randn(4, 9, 1, generator=torch.Generator().manual_seed(epoch))
        return LineEpoch(torch.stack([torch.from_numpy(worker.share(batch.numpy())) for batch in points]))

    def samples(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor) -> Loss:
        return Loss(nn.functional.mse_loss(self.model(batch), 2 * batch + 1, reduction="sum"), len(batch))

    def validate(self) -> dict[str, float]:
        assert not self.model.training
        assert not torch.is_grad_enabled()
        if self.stop_after is not None and len(self.epochs_seen) == self.stop_after:
            raise KeyboardInterrupt
        self.epochs_seen.append(len(self.epochs_seen))
        x = torch.linspace(-1, 1, 21).unsqueeze(1)
        error = nn.functional.mse_loss(self.model(x), 2 * x + 1).item()
        scored = -error if self.scores is None else self.scores[len(self.epochs_seen) - 1]
        return {"negative_error": scored, "weight": self.line.weight.item()}
