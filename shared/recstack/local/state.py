"""The state file: how other commands find a running local stack, and what to clean up after a hard kill."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recstack.errors import StackError


class ProcessState(BaseModel):
    """One process of the stack. pid and created_at (epoch seconds) identify it, also after pids were reused."""

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    pid: int
    created_at: float
    log: Path


class StackState(BaseModel):
    """A running stack. Its processes carry `mark` in their environment; `scratch` is a folder to delete at the end."""

    model_config = ConfigDict(frozen=True)

    supervisor_pid: int
    started_at_ms: int
    mark: str
    scratch: Path
    bundle_version: str
    processes: tuple[ProcessState, ...]

    def address(self, service: str) -> str:
        """Address of a service; StackError when the stack has none of that name."""
        for process in self.processes:
            if process.name == service:
                return process.address
        raise StackError(f"the running stack has no {service}; it has {[process.name for process in self.processes]}")


class StateFile:
    """HOME/stack.json, and the lock that the supervisor holds as long as it lives."""

    def __init__(self, home: Path) -> None:
        self.path = home.resolve() / "stack.json"
        self._lock_path = home.resolve() / "stack.lock"

    def read(self) -> StackState | None:
        """What was last written, whether or not that stack still runs; None when there is nothing."""
        try:
            return StackState.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StackError(f"{self.path} is not readable; stop what still runs and delete it") from error

    def running(self) -> StackState | None:
        """The state of a stack whose supervisor is alive; None when there is none, or it is still starting."""
        return self.read() if self.is_locked() else None

    def write(self, state: StackState) -> None:
        """Write beside, then rename, so that a reader never sees half a file."""
        beside = self.path.with_suffix(".new")
        beside.write_text(state.model_dump_json(indent=2))
        beside.replace(self.path)

    def delete(self) -> None:
        """Forget the stack."""
        self.path.unlink(missing_ok=True)

    def is_locked(self) -> bool:
        """Whether a supervisor lives. The kernel drops the lock with the process, so kill -9 leaves no stale one."""
        if not self._lock_path.exists():
            return False
        with self._lock_path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock; StackError when another supervisor has it."""
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StackError(self._already_up()) from error
            yield

    def _already_up(self) -> str:
        state = self.read()
        if state is None:
            return (
                f"another `recstack up` is starting in {self.path.parent}; wait for it, or stop it with `recstack down`"
            )
        return (
            f"the stack is already up: gateway at {state.address('gateway')}, supervisor pid {state.supervisor_pid}; "
            "use it, or stop it with `recstack down`"
        )
