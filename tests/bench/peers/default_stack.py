"""The stack of defaults as processes: uvicorn with its workers, started and ended here, and an HTTP client for it."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from recstack.errors import StackError
from recstack.lifeline import tied_to_parent
from recstack.local.processes import end, family
from recstack.ports import free_port
from recstack.redis_server import HOST
from tests.bench.peers.default_gateway import OPTIONS, Options

START_SECONDS = 120.0
POLL_SECONDS = 0.2
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DefaultStack:
    """A running one. url: of its gateway; pid: of uvicorn, whose children are the workers."""

    url: str
    pid: int

    def processes(self) -> dict[int, str]:
        """Name by process id: all of them are uvicorn's."""
        return {member.pid: "uvicorn" for member in family([self.pid])}


@contextmanager
def default_stack(options: Options, workers: int, log: Path) -> Iterator[DefaultStack]:
    """Start uvicorn, wait until it answers, end it. StackError when it dies or is late; its output goes to `log`."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "tests.bench.peers.default_gateway:create_app"),
        *("--host", HOST, "--port", str(port), "--workers", str(workers)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]
    threads = {"OMP_NUM_THREADS": str(options.threads), "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | threads | {OPTIONS: options.model_dump_json()}
    with log.open("ab") as output:
        process = subprocess.Popen(tied_to_parent(command), env=environment, stdout=output, stderr=output)
    try:
        stack = DefaultStack(f"http://{HOST}:{port}", process.pid)
        _wait_until_serving(process, stack.url, workers, log)
        yield stack
    finally:
        end(family([process.pid]), STOP_SECONDS)
        process.wait()


class DefaultClient:
    """Asks the gateway over connections that stay open; an async context manager."""

    def __init__(self, url: str, timeout: float) -> None:
        limit = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(url, connector=limit, timeout=aiohttp.ClientTimeout(timeout))

    async def __aenter__(self) -> "DefaultClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def recommend(self, user_id: int, k: int) -> list[dict[str, Any]]:
        """The k best items with titles and scores. Raises aiohttp.ClientError or TimeoutError."""
        async with self._session.post("/recommend", json={"user_id": user_id, "k": k}) as reply:
            reply.raise_for_status()
            items: list[dict[str, Any]] = (await reply.json())["items"]
            return items


def _wait_until_serving(process: subprocess.Popen[bytes], url: str, workers: int, log: Path) -> None:
    """Wait until every worker has answered: which one does is chance, as they share a socket."""
    deadline, answered = time.monotonic() + START_SECONDS, set[int]()
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StackError(f"uvicorn ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1.0) as reply:
            answered.add(json.load(reply)["pid"])
        if len(answered) == workers:
            return
        time.sleep(POLL_SECONDS)
    raise StackError(
        f"{len(answered)} of {workers} workers answered in {START_SECONDS:g} s:\n{log.read_text()[-2000:]}"
    )
