"""`python -m recstack.local ENGINE FREE_PORTS`: the background process of `recstack up --detach`.

Tells its parent in JSON lines on stdout how the start goes, closes stdout when ready, and logs to stderr.
"""

import json
import os
import sys
from pathlib import Path
from typing import Literal

from recstack.config import load_settings
from recstack.errors import RecStackError
from recstack.local.reporter import LogReporter
from recstack.local.stack import LocalStack
from recstack.local.supervisor import run_until_stopped
from recstack.logs import setup_logging


class _PipeReporter(LogReporter):
    """To the log, and to the parent for as long as it listens."""

    def __init__(self) -> None:
        self._listening = True

    def step(self, text: str) -> None:
        """See Reporter."""
        super().step(text)
        self.tell(step=text)

    def progress(self, done: int, total: int) -> None:
        """See Reporter."""
        super().progress(done, total)
        self.tell(done=done, total=total)

    def tell(self, **message: str | int) -> None:
        """One JSON line to the parent; a parent that has gone does not matter."""
        if self._listening:
            try:
                print(json.dumps(message), flush=True)
            except BrokenPipeError:
                self.hang_up()

    def hang_up(self) -> None:
        """Close stdout, so that the parent stops waiting."""
        self._listening = False
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def main(engine: Literal["ray", "plain"], free_ports: bool) -> int:
    """Run the stack until it is stopped; the exit status."""
    settings = load_settings()
    setup_logging(settings)
    reporter = _PipeReporter()
    stack = LocalStack(settings, ranking=engine, free_ports=free_ports, reporter=reporter)
    try:
        run_until_stopped(stack, reporter, reporter.hang_up)
    except RecStackError as error:
        reporter.tell(error=str(error))
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("ray" if sys.argv[1] == "ray" else "plain", sys.argv[2] == "1"))
