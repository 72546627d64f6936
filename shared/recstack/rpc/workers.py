"""Several processes behind one port: the kernel spreads connections over them (SO_REUSEPORT).

For services that are one Python event loop and keep no state of their own. Connections are spread, not requests: it
takes more connections than there are processes (many clients, or several gateways) for each process to get its share.
"""

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from recstack.errors import StackError
from recstack.lifeline import tied_to_parent

log = logging.getLogger("recstack.rpc")

WORKER_VARIABLE = "RECSTACK_WORKER"
"""Set in workers to their number, from 1. A process that has it serves by itself and shares its port."""

_POLL_SECONDS = 0.1
_KILL_SECONDS = 5.0


def is_worker() -> bool:
    """Whether this process is one of several that share a port."""
    return WORKER_VARIABLE in os.environ


def run_workers(command: Sequence[str], address: str, count: int, drain_seconds: float) -> None:
    """Run `command` `count` times until SIGTERM or SIGINT, which every worker gets and drains on.

    A worker that ends by itself takes the others with it: whoever supervises this process (Kubernetes, `recstack up`)
    sees the failure and starts all anew, where a silent restart would hide it. Call from the main thread.

    Raises StackError when the port is taken, when a worker ends unasked, or does not end when asked.
    """
    stop = threading.Event()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, on_signal)
    with _held_port(address):
        workers = [_start(command, number) for number in range(1, count + 1)]
        log.info("%d workers share %s: %s", count, address, [worker.pid for worker in workers])
        failed = None
        while failed is None and not stop.wait(_POLL_SECONDS):
            failed = next((worker for worker in workers if worker.poll() is not None), None)
        killed = _end(workers, drain_seconds + _KILL_SECONDS)
    if failed is not None:
        raise StackError(
            f"worker {workers.index(failed) + 1} of {count} {_how_it_ended(failed)}; the others were stopped"
        )
    if killed:
        raise StackError(f"{len(killed)} of {count} workers did not end within {drain_seconds:g} s and were killed")


@contextmanager
def _held_port(address: str) -> Iterator[None]:
    """Nobody else's port, and ours until the end. StackError when somebody has it: workers would share it silently."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    target = (host.strip("[]"), int(port))
    try:
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(target)  # without SO_REUSEPORT this fails also beside those who set it
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(target)  # bound and not listening: no connection comes here
    except OSError as error:
        raise StackError(
            f"cannot listen on {address}: {error.strerror}; stop the other process, or choose another address in the "
            "settings"
        ) from error
    with held:
        yield


def _start(command: Sequence[str], number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(tied_to_parent(command), env={**os.environ, WORKER_VARIABLE: str(number)})


def _end(workers: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[subprocess.Popen[bytes]]:
    """Ask all to end, wait, and kill those that do not; returns the killed."""
    for worker in workers:
        worker.terminate()
    killed = []
    give_up_at = time.monotonic() + seconds
    for worker in workers:
        try:
            worker.wait(max(0.0, give_up_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
            killed.append(worker)
    return killed


def _how_it_ended(worker: subprocess.Popen[bytes]) -> str:
    status = worker.returncode
    return f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
