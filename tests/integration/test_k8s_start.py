"""The processes of the laptop overlay: started by the manifests' own commands and environment, asked by their probes.

A cluster adds names, volumes and isolation; here names become loopback addresses and mounts become folders.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from k8s.validate import HERE, Manifest, build, pod_templates
from recstack import Client
from recstack.ports import free_port
from recstack.redis_server import RedisServer
from recstack.rpc.probe import probe
from tests.bench.world import make_world
from tests.integration.test_local_stack import wait_until

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")

PORTS = ("50051", "50052", "50053", "50054")
SERVICES = ("feature-store", "retrieval", "ranking", "gateway")


class Cluster:
    """Runs containers of a build as processes of this machine."""

    def __init__(self, manifests: list[Manifest], folder: Path, bundles: str, redis_url: str) -> None:
        self._folder = folder
        self._mounts = {"/var/recstack": str(folder), "/bundles": bundles}
        self._redis_url = redis_url
        self.ports = {port: free_port() for port in PORTS}
        self._settings = next(manifest["data"] for manifest in manifests if manifest["kind"] == "ConfigMap")
        self._containers = {pod: t["spec"]["containers"][0] for m in manifests for pod, t in pod_templates(m)}

    def start(self, pod: str) -> "subprocess.Popen[bytes]":
        """Start a pod's container."""
        container = self._containers[pod]
        own = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        settings = {name: self._here(value) for name, value in (self._settings | own).items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(self._folder)} | settings | {"REDIS_URL": self._redis_url}
        with (self._folder / f"{pod}.log").open("wb") as log:
            return subprocess.Popen(container["command"], env=environment, stdout=log, stderr=log, cwd=self._folder)

    def probe(self, pod: str, kind: str) -> str:
        """What a probe of a pod's container is told."""
        asked = self._containers[pod][kind]["grpc"]
        return probe(f"127.0.0.1:{self.ports[str(asked['port'])]}", asked.get("service", ""))

    def _here(self, value: str) -> str:
        for inside, outside in self._mounts.items():
            if value.startswith(inside):
                return outside + value.removeprefix(inside)
        named = re.fullmatch(r"(?:dns:///[a-z-]+|0\.0\.0\.0):(\d+)", value)
        return f"127.0.0.1:{self.ports[named[1]]}" if named else value


@pytest.fixture
def cluster(tmp_path: Path, redis_server: RedisServer) -> Cluster:
    world = make_world(tmp_path / "world", items=200, users=100, history=20)
    home = tmp_path / "home"
    home.mkdir()
    return Cluster(build(HERE / "overlays" / "laptop"), home, world.bundle_store, redis_server.url)


def stopped(process: "subprocess.Popen[bytes]") -> Callable[..., Any]:
    """What an ExitStack calls to end a process as Kubernetes does; it must leave by itself."""

    def stop(*_: object) -> None:
        process.terminate()
        assert process.wait(20) == 0

    return stop


def test_the_laptop_overlay_serves_by_its_own_commands_and_probes(cluster: Cluster) -> None:
    """Alive before they are ready, ready once there is something to serve, and a recommendation through the gateway."""
    with ExitStack() as running:
        processes = {}
        for service in SERVICES:
            processes[service] = cluster.start(service)
            running.push(stopped(processes[service]))
        for service in SERVICES:
            wait_until(lambda service=service: cluster.probe(service, "startupProbe") == "SERVING", 60)
            assert cluster.probe(service, "livenessProbe") == "SERVING"
        # The job finds a bundle and so does not train; it loads the features through the feature store.
        assert cluster.start("first-train").wait(60) == 0
        for service in SERVICES:
            wait_until(lambda service=service: cluster.probe(service, "readinessProbe") == "SERVING", 60)
        with Client(f"127.0.0.1:{cluster.ports['50051']}") as client:
            answer = client.recommend(user_id=1, k=5)
        assert len(answer) == 5
        assert not answer.degraded
        assert not answer.cold_start
