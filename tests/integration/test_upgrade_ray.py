"""Upgrades of ranking on Ray while calls go on, with KubeRay's part played by tests/helpers/ray_cluster.py.

`make upgrade-proof` runs all of it; the change of clusters takes minutes and is left out otherwise.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from k8s.validate import HERE, Manifest, build
from recstack.api.ranking.v1 import ranking_pb2_grpc
from recstack.bundle import BundleStore
from recstack.rpc.channel import sync_channel
from tests.helpers.headless_service import HeadlessService
from tests.helpers.ranking_bundles import offline_scores, publish_bundle, rank_request
from tests.helpers.ray_cluster import RayCluster

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")
whole_proof = pytest.mark.skipif("RECSTACK_UPGRADE_PROOF" not in os.environ, reason="takes minutes: make upgrade-proof")

CALLERS = 16
PAUSE_SECONDS = 0.02
CALL_SECONDS = 60.0
"""Generous, so that a busy machine fails no call."""


class Callers:
    """Gateways that ask for ranks again and again, through one channel as a gateway does."""

    def __init__(self, target: str) -> None:
        self._stop = threading.Event()
        self._channel = sync_channel(target)
        self._stub = ranking_pb2_grpc.RankingServiceStub(self._channel)
        self._pool = ThreadPoolExecutor(CALLERS)
        self._counts: list[Future[int]] = [self._pool.submit(self._call, seed) for seed in range(CALLERS)]

    def _call(self, seed: int) -> int:
        request, calls = rank_request(seed=seed), 0
        while not self._stop.wait(PAUSE_SECONDS):
            self._stub.Rank(request, timeout=CALL_SECONDS)
            calls += 1
        return calls

    def stop(self) -> int:
        """Number of calls; raises what the first failed call raised."""
        self._stop.set()
        counts = [count.result() for count in self._counts]
        self._channel.close()
        assert min(counts) > 0
        return sum(counts)


@contextmanager
def calls(target: str) -> Iterator[None]:
    """Calls go on within the block, and none of them fails."""
    callers = Callers(target)
    try:
        yield
    finally:
        print(f"{callers.stop()} calls, none failed")


@pytest.fixture
def ray_service() -> Manifest:
    """The RayService that `kubectl apply -k k8s/overlays/laptop-ray` sends."""
    (service,) = (manifest for manifest in build(HERE / "overlays" / "laptop-ray") if manifest["kind"] == "RayService")
    return service


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    store = BundleStore(str(tmp_path / "bundles"))
    publish_bundle(store, tmp_path / "work")
    return store


@pytest.fixture
def name() -> Iterator[HeadlessService]:
    """The Service `ranking`, which leads to the pods that are ready."""
    with HeadlessService("ranking") as service:
        yield service


@contextmanager
def cluster(ray_service: Manifest, address: str, store: BundleStore, folder: Path) -> Iterator[RayCluster]:
    """A cluster that may have ended within the block, and has after it."""
    settings = {"RECSTACK_BUNDLE__STORE": store.url, "RECSTACK_HOME": str(folder), "RECSTACK_DRAIN_SECONDS": "5"}
    running = RayCluster(ray_service, address, settings, folder)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


def test_the_manifests_own_config_serves_and_a_changed_one_is_taken_over_without_a_failed_call(
    ray_service: Manifest, name: HeadlessService, store: BundleStore, tmp_path: Path
) -> None:
    """The change is one that replaces the replica: there is one, and it answers until the new one does."""
    pod = name.new_pod()
    with cluster(ray_service, pod, store, tmp_path) as ray:
        ray.configure()
        ray.wait_until_running()
        name.add(pod)
        with sync_channel(name.target) as channel:
            request = rank_request()
            answer = ranking_pb2_grpc.RankingServiceStub(channel).Rank(request, timeout=CALL_SECONDS)
        np.testing.assert_allclose(answer.scores, offline_scores(store, answer.bundle_version, request), atol=1e-5)
        # The replica's own lines are in the container's log, for `kubectl logs` and whatever collects them.
        assert f"bundle {answer.bundle_version} is in use" in ray.log.read_text()

        before = ray.replicas()
        with calls(name.target):
            ray.configure(ray_actor_options={"num_cpus": 0.4})
            ray.wait_until_replaced(before)
            ray.wait_until_running()


@whole_proof
def test_a_new_cluster_takes_over_from_the_old_one_without_a_failed_call(
    ray_service: Manifest, name: HeadlessService, store: BundleStore, tmp_path: Path
) -> None:
    """KubeRay's NewCluster: both are there for a while, and the name leads to both; then the old one ends."""
    old, new = name.new_pod(), name.new_pod()
    with cluster(ray_service, old, store, tmp_path) as leaving, cluster(ray_service, new, store, tmp_path) as coming:
        leaving.configure()
        leaving.wait_until_running()
        name.add(old)
        with calls(name.target):
            coming.configure()
            coming.wait_until_running()
            name.add(new)
            name.remove(old)
            leaving.end()
