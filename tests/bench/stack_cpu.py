"""CPU seconds of a running stack by what they were spent in, read from outside."""

import contextlib

import psutil

from recstack.local import LocalStack
from recstack.local.processes import family, marked

RAY_PROCESSES = ("haproxy", "raylet", "gcs_server", "ServeController", "ProxyActor", "HAProxyManager", "RankingReplica")
"""Parts of the names under which Ray's processes are told apart; the others of its family are "ray, other"."""


def stack_processes(stack: LocalStack) -> dict[int, str]:
    """Name by process id, of every process of the stack: services with all their descendants, and Redis."""
    names: dict[int, str] = {}
    for root in stack.state.processes:
        members = family([root.pid]) + marked(f"{stack.state.mark}/{root.name}")
        for member in members:
            with contextlib.suppress(psutil.Error):
                names[member.pid] = root.name if member.pid == root.pid else f"{root.name}: {_name(member)}"
    return names


def cpu_seconds(processes: dict[int, str]) -> dict[str, float]:
    """CPU seconds that each name has used so far; processes that share a name are added up."""
    seconds: dict[str, float] = {}
    for pid, name in processes.items():
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            seconds[name] = seconds.get(name, 0.0) + times.user + times.system
    return seconds


def _name(process: psutil.Process) -> str:
    words = f"{process.name()} {' '.join(process.cmdline())}"
    return next((name for name in RAY_PROCESSES if name in words), "other")
