"""Where the local stack tells what it is doing: the log, a console or a pipe."""

import logging
from typing import Protocol

log = logging.getLogger("recstack.local")


class Reporter(Protocol):
    """Listener to the start and the life of a stack."""

    def step(self, text: str) -> None:
        """Something was done or has begun, as one short sentence."""

    def progress(self, done: int, total: int) -> None:
        """Features loaded so far, in rows and histories."""


class LogReporter:
    """Writes each step to the log; progress only when complete."""

    def step(self, text: str) -> None:
        """See Reporter."""
        log.info("%s", text)

    def progress(self, done: int, total: int) -> None:
        """See Reporter."""
        if done == total:
            log.info("%d rows and histories loaded", total)
