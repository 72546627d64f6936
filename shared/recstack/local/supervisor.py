"""Keeping a stack running until somebody stops it: in the foreground, or in a process of its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal, NoReturn

from recstack.config import Settings
from recstack.errors import StackError
from recstack.local.reporter import Reporter
from recstack.local.stack import LocalStack
from recstack.local.state import StackState, StateFile

_WATCH_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(stack: LocalStack, reporter: Reporter, on_ready: Callable[[], None]) -> None:
    """Start the stack, call `on_ready`, restart what dies; on SIGINT, SIGTERM or SIGHUP stop it and return.

    Raises what `LocalStack.start` raises, and StackError when a service keeps dying; everything is stopped then.
    """
    stop_on_signals()
    try:
        with stack:
            on_ready()
            try:
                watch(stack)
            finally:
                reporter.step("stopping; this takes a few seconds")
    except KeyboardInterrupt:
        reporter.step("stopped")


def watch(stack: LocalStack) -> NoReturn:
    """Restart what dies, until an exception ends it."""
    while True:
        time.sleep(_WATCH_SECONDS)
        stack.restart_dead()


def stop_on_signals() -> None:
    """From now on the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt; later ones are ignored."""
    for signum in _SIGNALS:
        signal.signal(signum, _interrupt_once)


def start_detached(
    settings: Settings, ranking: Literal["ray", "plain"] | None, free_ports: bool, reporter: Reporter
) -> StackState:
    """Start a stack in a background process; return when it is ready. Stop it with `recstack.local.down`.

    The background process reads its settings as this one did. Raises StackError with its message when it fails.
    """
    log = settings.home.resolve() / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "recstack.local", ranking or settings.ranking.engine, str(int(free_ports))]
    with log.open("ab") as stderr:
        supervisor = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
        )
    assert supervisor.stdout is not None
    try:
        for line in supervisor.stdout:  # ends when the supervisor is ready or gone: it closes its side then
            message = json.loads(line)
            if "error" in message:
                supervisor.wait()  # it has stopped everything and is about to end
                raise StackError(message["error"])
            if "step" in message:
                reporter.step(message["step"])
            else:
                reporter.progress(message["done"], message["total"])
        state = StateFile(settings.home).running()
        if state is None:
            raise StackError(f"the supervisor ended without a word; see {log}")
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    return state


def _interrupt_once(signum: int, frame: FrameType | None) -> None:
    """Unwind like Ctrl-C; further signals must not interrupt the stopping itself."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
