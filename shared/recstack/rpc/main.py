"""The `main` that every service shares: logging, event loop, clean errors."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from recstack.config import Settings, load_settings
from recstack.errors import RecStackError
from recstack.logs import setup_logging
from recstack.rpc.workers import is_worker, run_workers

try:
    import uvloop

    _loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
except ImportError:  # not available on every platform
    _loop_factory = None


class ScaledSection(Protocol):
    """Settings of a service that can run in several processes."""

    @property
    def address(self) -> str:
        """host:port that they share."""

    @property
    def processes(self) -> int:
        """How many there are."""


def service_main(
    serve: Callable[[Settings], Coroutine[Any, Any, None]],
    scaled: Callable[[Settings], ScaledSection] | None = None,
) -> None:
    """Run a service's `serve` coroutine until it returns. An expected error is one line and exit status 1.

    scaled: settings of a service that may run in several processes; this one then only looks after them.
    """
    try:
        settings = load_settings()
        setup_logging(settings)
        section = scaled(settings) if scaled else None
        if section and section.processes > 1 and not is_worker():
            command = [sys.executable, *sys.orig_argv[1:]]
            run_workers(command, section.address, section.processes, settings.drain_seconds)
            return
        with asyncio.Runner(loop_factory=_loop_factory) as runner:
            runner.run(serve(settings))
    except RecStackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
