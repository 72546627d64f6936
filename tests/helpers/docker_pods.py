"""Pods of a kustomize build as Docker containers of the real images.

What a manifest says of a container holds: image, command, environment, user, read-only root, capabilities, memory and
mounts. Docker's network gives the names. Scheduling, Services with several pods and network policies need a cluster.
"""

import json
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from k8s.validate import Manifest, pod_templates
from recstack.rpc.probe import probe


def docker(*arguments: str) -> str:
    """Run docker; what it prints. Raises AssertionError with its words when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


class DockerPods:
    """Runs the first container of each pod. claims: a host folder for each PersistentVolumeClaim that is to hold
    something already; the others are empty volumes."""

    def __init__(self, manifests: Sequence[Manifest], tag: str, claims: Mapping[str, Path]) -> None:
        self._name = f"recstack-pods-{secrets.token_hex(4)}"
        self._tag = tag
        self._claims = claims
        templates = {pod: template for one in manifests for pod, template in pod_templates(one)}
        self._pods = {pod: template["spec"] for pod, template in templates.items()}
        labels = {pod: template["metadata"]["labels"].items() for pod, template in templates.items()}
        services = {one["metadata"]["name"]: one["spec"] for one in manifests if one["kind"] == "Service"}
        self._names = {
            pod: [name for name, service in services.items() if service["selector"].items() <= labels[pod]]
            for pod in templates
        }
        self._settings = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}

    @contextmanager
    def network(self) -> Iterator["DockerPods"]:
        """A network for the pods; on leaving it they and their volumes are removed."""
        docker("network", "create", self._name)
        try:
            yield self
        finally:
            for container in docker("ps", "--all", "--quiet", "--filter", f"network={self._name}").split():
                docker("rm", "--force", "--volumes", container)
            for volume in docker("volume", "ls", "--quiet", "--filter", f"label={self._name}").split():
                docker("volume", "rm", volume)
            docker("network", "rm", self._name)

    def start(self, pod: str, *, names: Sequence[str] = (), command: Sequence[str] = ()) -> None:
        """Start a pod, to be found by its Services' names and by `names`. command: in place of the manifest's."""
        spec, container = self._pods[pod], self._container(pod)
        image = f"{container['image'].rpartition(':')[0]}:{self._tag}"
        words = [*(command or container.get("command", ())), *(() if command else container.get("args", ()))]
        options = [*self._rights(spec, container), *self._mounts(spec, container)]
        options += [f"--network-alias={name}" for name in (*self._names[pod], *names)]
        options += [f"--env={name}={value}" for name, value in self._environment(container).items()]
        entrypoint = [f"--entrypoint={words[0]}"] if words else []
        docker("run", "--detach", f"--name={self._id(pod)}", *options, *entrypoint, image, *words[1:])

    def says(self, pod: str, kind: str) -> bool:
        """Whether a pod's probe of this kind (`readinessProbe`) succeeds."""
        asked = self._container(pod)[kind]
        if "grpc" in asked:
            return probe(f"{self.ip(pod)}:{asked['grpc']['port']}", asked["grpc"].get("service", "")) == "SERVING"
        if "exec" in asked:
            command = ["docker", "exec", self._id(pod), *asked["exec"]["command"]]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        get = asked["httpGet"]
        try:
            with urllib.request.urlopen(f"http://{self.ip(pod)}:{get['port']}{get['path']}", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def finish(self, pod: str) -> int:
        """Wait for the end of a job; its exit status."""
        return int(docker("wait", self._id(pod)))

    def stop(self, pod: str) -> int:
        """End a pod as a kubelet does; its exit status, 137 where it had to be killed."""
        container = self._id(pod)
        docker("stop", "--time", str(self._pods[pod].get("terminationGracePeriodSeconds", 30)), container)
        return self.finish(pod)

    def ip(self, pod: str) -> str:
        """The pod's address."""
        shown = json.loads(docker("inspect", self._id(pod)))
        return str(shown[0]["NetworkSettings"]["Networks"][self._name]["IPAddress"])

    def log(self, pod: str) -> str:
        """What a pod has written, the end of it."""
        command = ["docker", "logs", "--tail", "40", self._id(pod)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    def _id(self, pod: str) -> str:
        return f"{self._name}-{pod}"

    def _container(self, pod: str) -> Any:
        return self._pods[pod]["containers"][0]

    def _environment(self, container: Any) -> dict[str, str]:
        values: dict[str, str] = {}
        for source in container.get("envFrom", []):
            values |= self._settings[source["configMapRef"]["name"]]
        return values | {entry["name"]: entry["value"] for entry in container.get("env", [])}

    def _rights(self, spec: Any, container: Any) -> list[str]:
        pod, own = spec["securityContext"], container["securityContext"]
        options = [f"--user={pod['runAsUser']}:{pod['runAsGroup']}", f"--network={self._name}"]
        options += [f"--cap-drop={capability}" for capability in own["capabilities"]["drop"]]
        options += ["--read-only"] * own["readOnlyRootFilesystem"]
        options += ["--security-opt=no-new-privileges"] * (not own["allowPrivilegeEscalation"])
        return [*options, f"--memory={container['resources']['limits']['memory'].removesuffix('i')}"]

    def _mounts(self, spec: Any, container: Any) -> Iterator[str]:
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        owner = spec["securityContext"]["fsGroup"]
        for mount in container["volumeMounts"]:
            path, volume = mount["mountPath"], volumes.get(mount["name"], {})
            if "emptyDir" in volume:
                yield f"--tmpfs={path}:exec,mode=2770,uid=0,gid={owner}"
                continue
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", mount["name"])
            source = self._claims.get(claim) or self._volume(claim)
            yield f"--volume={source}:{path}{':ro' if mount.get('readOnly') else ''}"

    def _volume(self, claim: str) -> str:
        return docker("volume", "create", f"--label={self._name}", f"{self._name}-{claim}")
