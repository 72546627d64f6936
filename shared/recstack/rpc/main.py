"""The `main` that every service shares: logging, event loop, clean errors."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from recstack.config import Settings, load_settings
from recstack.errors import RecStackError

try:
    import uvloop

    _loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
except ImportError:  # not available on every platform
    _loop_factory = None


def setup_logging(level: str) -> None:
    """One line per record on stderr."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def service_main(serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run a service's `serve` coroutine until it returns. An expected error is one line and exit status 1."""
    try:
        settings = load_settings()
        setup_logging(settings.log_level)
        with asyncio.Runner(loop_factory=_loop_factory) as runner:
            runner.run(serve(settings))
    except RecStackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
