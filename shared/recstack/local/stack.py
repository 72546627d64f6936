"""The local stack: Redis and the four services as child processes of this one."""

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from recstack.bundle.store import BundleStore
from recstack.client import Client
from recstack.config import Settings
from recstack.errors import BundleError, StackError
from recstack.local.cleanup import clean_up
from recstack.local.feature_loading import load_features_once
from recstack.local.ports import require_free
from recstack.local.processes import MARK_VARIABLE, end, family, marked
from recstack.local.reporter import LogReporter, Reporter
from recstack.local.restarts import Restarts
from recstack.local.service_process import ServiceProcess
from recstack.local.services import SERVICES, Service, environment, own_metrics, with_addresses
from recstack.local.stack_redis import StackRedis
from recstack.local.state import StackState, StateFile
from recstack.rpc.credentials import tls_to

_POLL_SECONDS = 0.2
_SHUTDOWN_SECONDS = 20.0  # beyond the drain: Ray takes several seconds to stop its own processes


class LocalStack:
    """Starts everything, keeps it running and leaves nothing behind; use it as a context manager.

    with LocalStack(settings, ranking="plain", free_ports=True) as stack:
        stack.client().recommend(42)

    ranking: engine of the ranking service; what the settings say if not given. free_ports: listen on free ports
    instead of the configured ones. redis_folder: data of the embedded Redis, HOME/redis if not given; a REDIS_URL
    that is set is used instead of an embedded one. Start it from the main thread: children are tied to it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ranking: Literal["ray", "plain"] | None = None,
        free_ports: bool = False,
        redis_folder: Path | None = None,
        services: tuple[Service, ...] = SERVICES,
        reporter: Reporter | None = None,
    ) -> None:
        if ranking is not None:
            settings = settings.model_copy(update={"ranking": settings.ranking.model_copy(update={"engine": ranking})})
        self._redis = StackRedis(settings, redis_folder or settings.home.resolve() / "redis", free_ports)
        self._settings = with_addresses(settings, services) if free_ports else settings
        self._services = services
        self._reporter: Reporter = reporter or LogReporter()
        self._state_file = StateFile(settings.home)
        self._mark = uuid.uuid4().hex
        self._scratch = Path()
        self._started_at_ms = 0
        self._bundle_version = ""
        self._processes: list[ServiceProcess] = []
        self._restarts = Restarts()
        self._undo = contextlib.ExitStack()

    @property
    def settings(self) -> Settings:
        """Settings with the real addresses; complete once started."""
        return self._settings

    @property
    def state(self) -> StackState:
        """Addresses, pids and logs, as written to HOME/stack.json."""
        redis = self._redis.state()
        processes = [redis] if redis else []
        processes += [process.state() for process in self._processes]
        return StackState(
            supervisor_pid=os.getpid(),
            started_at_ms=self._started_at_ms,
            mark=self._mark,
            scratch=self._scratch,
            bundle_version=self._bundle_version,
            processes=tuple(processes),
        )

    def start(self) -> None:
        """Start and wait until every service is healthy and the features are loaded; stop everything on failure.

        Raises StackError (already up, port taken, service died or late) or BundleError (no active bundle, or a damaged
        one).
        """
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._state_file.locked())
            clean_up(self._state_file)
            self._bundle_version = self._active_bundle()
            self._require_free_ports()
            self._started_at_ms = int(time.time() * 1000)
            # In /tmp and short, whatever TMPDIR says: Ray's Unix sockets lie below it, and their paths are limited.
            self._scratch = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))
            undo.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            undo.callback(self._state_file.delete)
            undo.callback(self._end_processes)
            self._reporter.step(self._redis.start())
            self._settings = self._settings.model_copy(update={"redis_url": self._redis.url})
            self._start_services()
            self._wait_until_ready()
            self._undo = undo.pop_all()

    def stop(self) -> None:
        """Drain and end every process, Ray's included, then Redis. Does nothing when stopped already."""
        self._undo.close()

    def restart_dead(self) -> None:
        """Start again whatever has died, with a growing pause; StackError when one service dies over and over."""
        if not self._redis.alive:
            self._restarts.pause("redis", "redis died", self._reporter)
            self._redis.stop()
            self._redis.start()
            self._state_file.write(self.state)
        for process in self._processes:
            if not process.alive:
                name = process.service.name
                try:
                    self._restarts.pause(name, f"{name} {process.describe_exit()}", self._reporter)
                except StackError as error:
                    raise StackError(f"{error}\n{process.log_tail()}") from error
                end(marked(self._mark_of(process.service)), 3.0)
                process.start()
                self._state_file.write(self.state)

    def client(self, timeout: float = 1.0) -> Client:
        """A client of this stack's gateway; the caller closes it."""
        return Client(self._settings.gateway.address, timeout=timeout, tls=tls_to("gateway", self._settings))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _active_bundle(self) -> str:
        store = BundleStore.of(self._settings)
        version = store.active()
        if version is None:
            raise BundleError(f"no bundle is active in {store.url}; make one with `recstack train` first")
        # The services would refuse a damaged bundle too, but only their logs would say why they never get healthy.
        return store.verify(version).version

    def _require_free_ports(self) -> None:
        for service in self._services:
            setting = f"RECSTACK_{service.section.upper()}__ADDRESS"
            require_free(service.name, service.address(self._settings), setting)
        self._redis.require_free_port()

    def _start_services(self) -> None:
        shared = {**environment(self._settings), "RAY_TMPDIR": str(self._scratch)}
        logs = self._settings.home.resolve() / "logs"
        for number, service in enumerate(self._services):
            variables = {**shared, **own_metrics(self._settings, number), MARK_VARIABLE: self._mark_of(service)}
            log, tls = logs / f"{service.name}.log", tls_to(service.section, self._settings)
            process = ServiceProcess(service, service.address(self._settings), variables, log, tls)
            process.start()
            self._processes.append(process)
        self._state_file.write(self.state)
        self._reporter.step(f"starting {', '.join(service.name for service in self._services)}")

    def _wait_until_ready(self) -> None:
        waiting = list(self._processes)
        while waiting:
            for process in list(waiting):
                if process.check_serving():
                    waiting.remove(process)
                    self._reporter.step(f"{process.service.name} is healthy at {process.address}")
                    if process.service.section == "feature_store":
                        load_features_once(self._settings, self._bundle_version, self._reporter)
            time.sleep(_POLL_SECONDS)

    def _mark_of(self, service: Service) -> str:
        return f"{self._mark}/{service.name}"

    def _end_processes(self) -> None:
        # Callers before those they call, so that calls in flight can finish. A service ends its own children in its
        # own order; only what it leaves behind is ended here.
        grace = self._settings.drain_seconds + _SHUTDOWN_SECONDS
        for process in reversed(self._processes):
            if process.alive:
                members = family([process.pid])
                end(members[:1], grace)
                end(members[1:], 3.0)
        end(marked(self._mark), 3.0)
        for process in self._processes:
            process.collect()
        self._processes.clear()
        self._redis.stop()
