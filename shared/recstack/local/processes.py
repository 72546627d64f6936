"""Ending processes so that nothing is left behind: descendants, and orphans that carry a stack's mark."""

import contextlib
import os
import time
from collections.abc import Iterable

import psutil

MARK_VARIABLE = "RECSTACK_STACK_MARK"
"""Environment variable that a service and all its children inherit; it finds those that left their parent."""

_POLL_SECONDS = 0.02
_KILL_SECONDS = 5.0


def family(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes with these ids that are alive, each followed by all its descendants."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for member in [process, *process.children(recursive=True)]:
                found[member.pid] = member
    return list(found.values())


def marked(mark: str) -> list[psutil.Process]:
    """Every process of this user whose mark starts with `mark`, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK_VARIABLE, "").startswith(mark):
                found.append(process)
    return found


def is_alive(pid: int | None) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return pid is not None and _runs(psutil.Process(pid))
    except psutil.Error:
        return False


def created_at(pid: int) -> float:
    """When a process was created, seconds since the epoch; with the pid, this identifies it for good. 0 if gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """Terminate, wait up to `grace_seconds`, kill what remains, and wait for that too."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    alive = _wait(alive, grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(alive, _KILL_SECONDS)


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; those that have not when time is up.

    Not `psutil.wait_procs`, which also waits until somebody collects the ended process: in a container that may
    be never.
    """
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        processes = [process for process in processes if _runs(process)]
        time.sleep(_POLL_SECONDS)
    return processes


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
