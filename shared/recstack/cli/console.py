"""Output of the commands: results on stdout, progress and errors on stderr."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn


def stdout() -> Console:
    """For results. Made when used, so that it writes to the stdout of the moment."""
    return Console(highlight=False)


def stderr() -> Console:
    """For progress and errors."""
    return Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """`error: …` in red; lines after the first (a log's end) in plain."""
    first, *rest = message.splitlines() or [""]
    console = stderr()
    console.print(f"[bold red]error:[/] {escape(first)}", soft_wrap=True)
    for line in rest:
        console.print(escape(line), soft_wrap=True)


class ConsoleReporter:
    """A `recstack.local.Reporter` that shows steps as lines and the load of features as a progress bar."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def step(self, text: str) -> None:
        """See Reporter."""
        self._console.print(f"[dim]·[/] {escape(text)}", soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """See Reporter."""
        if self._bar is None:
            columns = TextColumn("  rows and histories"), BarColumn(), MofNCompleteColumn()
            self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=done)
        if done >= total:
            self._bar.stop()
            self._bar = None
            self.step(f"{total:,} rows and histories loaded")
