"""Kubernetes' rolling update, played with real processes: each pod is replaced by one at another address."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recstack.rpc.channel import OPTIONS
from recstack.rpc.probe import probe
from tests.helpers.headless_service import HeadlessService

ROOT = Path(__file__).parents[2]
SECONDS = 90.0
"""For whatever must happen some time."""
LOOKED_UP_AGAIN = dict(OPTIONS)["grpc.dns_min_time_between_resolutions_ms"] / 1000


@dataclass
class Pod:
    """A process that serves at an address of its own."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    async def ready(self) -> None:
        """Wait as long as the readiness probe would."""

        async def serving() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return await asyncio.to_thread(probe, self.address) == "SERVING"

        await until(serving)

    async def end(self) -> None:
        """As Kubernetes ends it; it must drain and leave by itself."""
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, SECONDS) == 0, self.log.read_text()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + SECONDS
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


@dataclass
class Deployment:
    """Pods of one service (services/NAME) behind its headless name. `variables`: their environment."""

    name: str
    service: HeadlessService
    variables: Mapping[str, str]
    folder: Path
    pods: list[Pod] = field(default_factory=list)
    _started: list[Pod] = field(default_factory=list)

    async def scale(self, replicas: int) -> None:
        """Bring up so many pods, all at once."""
        for pod in [self._start() for _ in range(replicas)]:
            await self._take_in(pod)

    async def roll(self) -> None:
        """Replace all pods: `maxSurge: 1`, `maxUnavailable: 0`, and a `minReadySeconds` that outlasts a look-up."""
        # The new ones start together, which saves time; each is taken in when its turn has come.
        for leaving, coming in [(pod, self._start()) for pod in self.pods]:
            await self._take_in(coming)
            await until(self._a_look_up_may_follow)
            self.service.remove(leaving.address)
            self.pods.remove(leaving)
            await leaving.end()

    def kill(self) -> None:
        """End what is left of it."""
        for pod in self._started:
            pod.process.kill()
            pod.process.wait()

    def _start(self) -> Pod:
        address = self.service.new_pod()
        log = self.folder / f"{self.name}-{address}.log"
        environment = {**os.environ, **self.variables, f"RECSTACK_{self.name.upper()}__ADDRESS": address}
        with log.open("wb") as output:
            command = [sys.executable, "-m", f"services.{self.name}"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        self._started.append(Pod(address, process, log))
        return self._started[-1]

    async def _take_in(self, pod: Pod) -> None:
        await pod.ready()
        self.service.add(pod.address)
        self.pods.append(pod)

    async def _a_look_up_may_follow(self) -> bool:
        return self.service.seconds_since_asked > LOOKED_UP_AGAIN + 0.5
