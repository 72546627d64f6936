"""A Ray cluster as KubeRay makes it of k8s/components/ranking-ray, on this machine and without Kubernetes.

KubeRay starts each pod with `ray start` (options from rayStartParams, `--block`), waits for the head's dashboard, sends
it serveConfigV2, and counts a cluster as ready when every application is RUNNING. What differs here: one pod, a head
that also serves, as two would want the same ports; ports of its own for all that clusters on one machine would share.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml

from k8s.validate import Manifest
from recstack.config import RankingSettings
from recstack.ports import free_ports
from recstack.rpc.probe import probe
from services.ranking.ray_drain import CONFIG_FILE
from services.ranking.ray_environment import ray_environment, temporary_path

ROOT = Path(__file__).parents[2]
SECONDS = 180.0
GRPC_PORT = 50054
PRIVATE = ("RAY_SERVE_HAPROXY_", "RAY_SERVE_FALLBACK_", "RAY_SERVE_DIRECT_INGRESS_")
"""What a pod has for itself and processes of one machine must not share."""


@dataclass
class RayCluster:
    """A running cluster of a rendered RayService; `kill` it in the end.

    address: where its proxy is to listen. settings: the ConfigMap's variables, as they are on this machine.
    log: what the container would write.
    """

    service: Manifest
    address: str
    settings: Mapping[str, str]
    folder: Path

    def __post_init__(self) -> None:
        self.host, _, port = self.address.partition(":")
        self._port = int(port)
        self._temp = temporary_path()
        self._temp.mkdir(mode=0o700)
        gcs, self._dashboard, agent, metrics, client, self._http = free_ports(6)
        self._environment = self._variables()
        head = self.service["spec"]["rayClusterConfig"]["headGroupSpec"]
        worker = self.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
        options = {
            **head["rayStartParams"],
            "num-cpus": worker["rayStartParams"]["num-cpus"],
            "dashboard-host": self.host,
            "node-ip-address": self.host,
            "port": gcs,
            "dashboard-port": self._dashboard,
            "dashboard-agent-listen-port": agent,
            "metrics-export-port": metrics,
            "ray-client-server-port": client,
            "temp-dir": self._temp / "ray",
        }
        flags = " ".join(f"--{name}={value}" for name, value in options.items())
        self.log = self.folder / f"ray-{self.host}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", "--", f"ulimit -n 65536; ray start --head {flags} --block"],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
            )

    def _variables(self) -> dict[str, str]:
        """The container's own, those that keep clusters of one machine apart, and the settings."""
        (container,) = self.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
        private = {
            name: value
            for name, value in ray_environment(RankingSettings(), self._temp).items()
            if name.startswith(PRIVATE)
        }
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2",
            **private,
            **{entry["name"]: entry["value"] for entry in container["env"]},
            **self.settings,
        }

    def configure(self, **deployment: Any) -> None:
        """Send the manifest's serveConfigV2, as KubeRay does when it is new or has changed.

        deployment: options of the deployment, as an edited manifest would have them.
        """
        config = yaml.safe_load(self.service["spec"]["serveConfigV2"])
        assert config["grpc_options"]["port"] == GRPC_PORT
        config["http_options"] = {"host": self.host, "port": self._http}
        config["grpc_options"]["port"] = self._port
        if deployment:
            config["applications"][0]["deployments"] = [{"name": "RankingReplica", **deployment}]
        self._until(lambda: self._get("/api/gcs_healthz").status_code == 200)
        requests.put(self._url("/api/serve/applications/"), json=config, timeout=SECONDS).raise_for_status()

    def wait_until_running(self) -> None:
        """What KubeRay waits for before it moves its Service, and then what the readiness probe asks."""
        self._until(lambda: self.status() == "RUNNING")
        self._until(lambda: probe(self.address) == "SERVING")

    def status(self) -> str:
        """The application's status in Ray's words."""
        return str(self.application().get("status", "unknown"))

    def application(self) -> dict[str, Any]:
        """What the dashboard says of the application."""
        applications: dict[str, dict[str, Any]] = self._get("/api/serve/applications/").json()["applications"]
        return applications.get("ranking", {})

    def replicas(self) -> set[str]:
        """Ids of the replicas that run."""
        (deployment,) = self.application()["deployments"].values()
        return {replica["replica_id"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"}

    def wait_until_replaced(self, before: set[str]) -> None:
        """Until none of these replicas runs any more. One must run all the time, or calls would wait."""

        def replaced() -> bool:
            running = self.replicas()
            assert running, "no replica runs"
            return not running & before

        self._until(replaced)

    def end(self) -> None:
        """As Kubernetes ends a worker's pod: its preStop command, then SIGTERM, then what is left is killed."""
        (container,) = self.service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
        command = [sys.executable, *container["lifecycle"]["preStop"]["exec"]["command"][1:]]
        assert CONFIG_FILE in self._environment
        subprocess.run(command, env=self._environment, cwd=ROOT, check=True, timeout=SECONDS)
        self.kill(signal.SIGTERM)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """End all its processes and remove its folder."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        self.process.send_signal(signum)
        self.process.wait(SECONDS)
        _, alive = psutil.wait_procs(family, timeout=10)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=SECONDS)
        shutil.rmtree(self._temp, ignore_errors=True)

    def _get(self, path: str) -> requests.Response:
        return requests.get(self._url(path), timeout=SECONDS)

    def _url(self, path: str) -> str:
        return f"http://{self.host}:{self._dashboard}{path}"

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{self.log.read_text()}\n{self.application()}"
            try:
                if condition():
                    return
            except requests.RequestException:
                pass  # not there yet
            time.sleep(0.1)
