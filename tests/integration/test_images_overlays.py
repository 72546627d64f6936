"""The laptop overlays as containers of the images: their commands, environment, rights, mounts, limits and probes.

test_k8s_start.py runs the same commands as processes, without images; this takes a Docker daemon (`make images-test`).
"""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.validate import HERE, Manifest, build
from recstack import Client
from tests.bench.world import make_world
from tests.helpers.docker_pods import DockerPods
from tests.integration.test_local_stack import wait_until

pytestmark = [
    pytest.mark.skipif("IMAGES_TAG" not in os.environ, reason="needs images and a Docker daemon: make images-test"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle store that the images' user may read and write, as a claim's would be."""
    store = Path(make_world(tmp_path_factory.mktemp("world"), items=200, users=100, history=20).bundle_store)
    for path in (store, *store.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return store


@contextmanager
def pods_of(manifests: list[Manifest], bundles: Path) -> Iterator[DockerPods]:
    with DockerPods(manifests, os.environ["IMAGES_TAG"], {"bundles": bundles}).network() as pods:
        yield pods


def until_ready(pods: DockerPods, *names: str) -> None:
    for name in names:
        try:
            wait_until(lambda name=name: pods.says(name, "readinessProbe"), 180)
        except AssertionError:
            print(pods.log(name))
            raise


def start_all_but_ranking(pods: DockerPods) -> None:
    for pod in ("redis", "feature-store", "retrieval", "gateway"):
        pods.start(pod)
    until_ready(pods, "redis", "feature-store")
    pods.start("first-train")
    assert pods.finish("first-train") == 0, pods.log("first-train")


def assert_recommends(pods: DockerPods) -> None:
    """The gateway was there first, and finds the others when it next looks for them; then it has all that it needs."""
    with Client(f"{pods.ip('gateway')}:50051", timeout=5) as client:
        wait_until(lambda: not client.recommend(user_id=1, k=10).degraded, 60)
        answer = client.recommend(user_id=1, k=10)
    assert len(answer) == 10
    assert not answer.cold_start


def test_the_laptop_overlay_recommends(bundles: Path) -> None:
    with pods_of(build(HERE / "overlays" / "laptop"), bundles) as pods:
        start_all_but_ranking(pods)
        pods.start("ranking")
        until_ready(pods, "retrieval", "ranking", "gateway")
        assert_recommends(pods)
        for pod in ("gateway", "ranking", "retrieval", "feature-store", "redis"):
            assert pods.stop(pod) == 0, pods.log(pod)


def test_the_laptop_overlay_with_ray_recommends(bundles: Path) -> None:
    """Ray is started and given its application as KubeRay does it."""
    manifests = build(HERE / "overlays" / "laptop-ray")
    service = next(one["spec"] for one in manifests if one["kind"] == "RayService")
    cluster = service["rayClusterConfig"]
    with pods_of(manifests, bundles) as pods:
        start_all_but_ranking(pods)
        head = ray_start("--head", cluster["headGroupSpec"])
        pods.start("ranking-head", names=["ranking-head-svc"], command=head)
        until_ready(pods, "ranking-head")
        worker = ray_start("--address=ranking-head-svc:6379", cluster["workerGroupSpecs"][0])
        pods.start("ranking-worker", command=worker)
        deploy(pods.ip("ranking-head"), yaml.safe_load(service["serveConfigV2"]))
        until_ready(pods, "ranking-worker", "retrieval", "gateway")
        assert_recommends(pods)


def ray_start(role: str, group: dict[str, Any]) -> list[str]:
    """The command that KubeRay makes for a group's container; probes ask the agent at that port."""
    given = " ".join(f"--{name}={value}" for name, value in group["rayStartParams"].items())
    ours = f"ray start {role} --block --dashboard-agent-listen-port=52365 --metrics-export-port=8080 {given}"
    return ["/bin/bash", "-c", "--", f"ulimit -n 65536; {ours}"]


def deploy(head: str, config: dict[str, Any]) -> None:
    """Give Serve its applications, over the dashboard's API."""
    request = urllib.request.Request(
        f"http://{head}:8265/api/serve/applications/",
        data=json.dumps(config).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=60):
        pass
