"""What a person sees while a model trains: a live bar on a terminal, one line per epoch everywhere else."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A context manager that shows epoch, loss, samples/s and time left.

    On a terminal the bar is updated in place; otherwise only `epoch_done` prints, so that logs stay short.
    """

    def __init__(self, name: str, total_steps: int, done_steps: int, console: Console) -> None:
        self._console = console
        self._name = name
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  loss {task.fields[loss]:.4f}  {task.fields[rate]:,.0f} samples/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(name, total=total_steps, completed=done_steps, loss=float("nan"), rate=0.0)

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float, rate: float) -> None:
        """Show that `step` optimizer steps are done."""
        self._bar.update(self._task, completed=step, loss=loss, rate=rate)

    def epoch_done(self, row: dict[str, float], epochs: int, metric_name: str, best: bool) -> None:
        """Print one epoch's line."""
        mark = "  best" if best else ""
        self._console.print(
            f"{self._name}  epoch {row['epoch']:.0f}/{epochs}  loss {row['loss']:.4f}  "
            f"{metric_name} {row[metric_name]:.4f}  {row['samples_per_second']:,.0f} samples/s  "
            f"{row['seconds']:.0f} s{mark}",
            highlight=False,
            soft_wrap=True,
        )
