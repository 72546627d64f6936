"""One service as a child process with a log file and a health check."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from recstack.errors import StackError
from recstack.lifeline import tied_to_parent
from recstack.local.processes import created_at
from recstack.local.services import Service
from recstack.local.state import ProcessState
from recstack.rpc.credentials import Tls
from recstack.rpc.probe import is_serving

_TAIL_LINES = 30


class ServiceProcess:
    """Runs `python -m MODULE` with extra environment variables; its output is appended to `log`.

    tls: how its health is asked for.
    """

    def __init__(
        self, service: Service, address: str, environment: Mapping[str, str], log: Path, tls: Tls | None = None
    ) -> None:
        self.service = service
        self.address = address
        self.log = log
        self._environment = environment
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._started = 0.0

    @property
    def pid(self) -> int:
        """Process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def state(self) -> ProcessState:
        """Name, address, process id and log."""
        return ProcessState(
            name=self.service.name,
            address=self.address,
            pid=self.pid,
            created_at=created_at(self.pid),
            log=self.log,
        )

    def start(self) -> None:
        """Start the process; it ends with this one. Call from the main thread, see `tied_to_parent`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                tied_to_parent([sys.executable, "-m", self.service.module]),
                env={**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor, which stops its children in order
            )

    def collect(self) -> None:
        """Take the exit status of a process that has ended, so that no zombie remains."""
        if self._process is not None:
            self._process.wait()

    def check_serving(self) -> bool:
        """Whether it is healthy by now; StackError, with the end of its log, when it died or takes too long."""
        if not self.alive:
            raise StackError(f"{self.service.name} {self.describe_exit()} before it was healthy\n{self.log_tail()}")
        if is_serving(self.address, tls=self._tls):
            return True
        limit = self.service.startup_seconds
        if time.monotonic() - self._started > limit:
            raise StackError(
                f"{self.service.name} is not healthy at {self.address} after {limit:g} s\n{self.log_tail()}"
            )
        return False

    def describe_exit(self) -> str:
        """How it ended, for people: "stopped with exit status 1" or "was killed by signal 9"."""
        status = self._process.poll() if self._process else None
        return f"was killed by signal {-status}" if status and status < 0 else f"stopped with exit status {status}"

    def log_tail(self) -> str:
        """The last lines that this run of the process wrote, with the path of the log."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return f"the end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines or ["(empty)"])
