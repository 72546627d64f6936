"""The component autoscaling-keda: it counts calls that exist, and its targets are those of the sizing table."""

import re
import shutil
from functools import cache
from typing import Any

import pytest

from k8s.validate import HERE, Manifest, build_with
from recstack.api.features.v1 import features_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.api.ranking.v1 import ranking_pb2
from recstack.api.retrieval.v1 import retrieval_pb2
from recstack.metrics import RPC_SECONDS

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")

CONTRACTS: dict[str, Any] = {
    "gateway": gateway_pb2.DESCRIPTOR.services_by_name["RecommenderService"],
    "feature-store": features_pb2.DESCRIPTOR.services_by_name["FeatureStoreService"],
    "retrieval": retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"],
    "ranking": ranking_pb2.DESCRIPTOR.services_by_name["RankingService"],
}
ROWS = {"gateway": "gateway", "feature-store": "feature store", "retrieval": "retrieval", "ranking": "ranking, plain"}
"""Of the sizing table in docs/operations.md."""


@cache
def manifests() -> list[Manifest]:
    return build_with(["autoscaling", "autoscaling-keda", "monitoring"])


def scaled() -> dict[str, Manifest]:
    """Specifications of the ScaledObjects, by name."""
    return {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "ScaledObject"}


def milliseconds(service: str) -> float:
    """The larger figure of CPU per Recommend in the sizing table."""
    table = (HERE.parent / "docs" / "operations.md").read_text()
    row = re.search(rf"^\| {ROWS[service]} \|[^|]*\| (?:[\d.]+ to )?([\d.]+) ms \|", table, re.MULTILINE)
    assert row, service
    return float(row[1])


def test_there_is_one_autoscaler_for_each_deployment() -> None:
    """Two would pull against each other."""
    deployments = {m["metadata"]["name"] for m in manifests() if m["kind"] == "Deployment"}
    assert {spec["scaleTargetRef"]["name"] for spec in scaled().values()} == deployments == set(CONTRACTS)
    assert not [m for m in manifests() if m["kind"] == "HorizontalPodAutoscaler"]


@pytest.mark.parametrize("service", CONTRACTS)
def test_targets_are_sixty_per_cent_of_a_core(service: str) -> None:
    """Rounded down, by the figures of docs/operations.md: who measures anew changes both."""
    (trigger,) = scaled()[service]["triggers"]
    exact = 600 / milliseconds(service)
    assert 0.97 * exact <= float(trigger["metadata"]["threshold"]) <= exact


@pytest.mark.parametrize("service", CONTRACTS)
def test_queries_count_a_call_of_the_service_itself(service: str) -> None:
    """A misspelt one would leave the replicas at their least for ever."""
    (trigger,) = scaled()[service]["triggers"]
    query = re.fullmatch(
        r'sum\(rate\((\w+)_count\{namespace="recstack",method="(\w+)"\}\[2m\]\)\)', trigger["metadata"]["query"]
    )
    assert query
    assert query[1] == RPC_SECONDS.describe()[0].name
    assert query[2] in CONTRACTS[service].methods_by_name
    assert trigger["metricType"] == "AverageValue"  # a target for each replica, and what the fallback works with


@pytest.mark.parametrize("service", CONTRACTS)
def test_without_prometheus_nothing_shrinks(service: str) -> None:
    """No answer, and an empty one, are no reason to take replicas away."""
    spec = scaled()[service]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["fallback"]["replicas"] == spec["minReplicaCount"] >= 2
    assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"
    assert spec["maxReplicaCount"] > spec["minReplicaCount"]
