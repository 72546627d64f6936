"""Alerts and dashboard: they speak of metrics that exist, and alerts fire when they should and only then."""

import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from k8s.validate import HERE, build_with, pod_templates
from recstack import metrics
from tests.helpers.prometheus import only_firing, promtool

MONITORING = HERE / "components" / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRICS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
LABELS = {metric._name: {*metric._labelnames, "le"} for metric in METRICS}
"""Labels by the name of a metric, without the endings of its samples."""


def expressions() -> list[str]:
    """Every expression of the alerts and the dashboard."""
    shown = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return shown + [rule["expr"] for rule in (*ALERTS.values(), *RECORDED.values())]


def test_every_expression_speaks_of_metrics_and_labels_that_exist() -> None:
    """A misspelt name gives an empty panel, and an alert that never fires."""
    samples = {sample for metric in METRICS for sample in _sample_names(metric)}
    for expression in expressions():
        for name, selector in re.findall(r"\b(recstack_\w+)(?:\{([^}]*)\})?", expression):
            assert name in samples, f"{name} in {expression}"
            base = re.sub(r"_(total|count|sum|bucket)$", "", name)
            assert set(re.findall(r"(\w+)\s*[!=]~?\"", selector)) <= LABELS[base], expression
        grouped = {label.strip() for by in re.findall(r"by \(([^)]+)\)", expression) for label in by.split(",")}
        known = set().union(*(LABELS[name] for name in LABELS if name in expression))
        assert grouped <= known, expression
        assert set(re.findall(r"\brecstack:\w+:\w+", expression)) <= RECORDED.keys(), expression


def _sample_names(metric: MetricWrapperBase) -> list[str]:
    """As Prometheus will see them."""
    return [name for name, owner in REGISTRY._names_to_collectors.items() if owner is metric]


def test_the_dashboard_is_what_its_script_writes() -> None:
    assert runpy.run_path(str(MONITORING / "dashboard.py"))["dashboard"]() == DASHBOARD


def test_the_dashboard_is_one_that_grafana_draws() -> None:
    """Found again by its uid, on whatever data source is chosen; no panel lies on another or beyond the edge."""
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == ("recstack", 39)
    assert [one["name"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)
    for column in ("id", "title"):
        assert len({panel[column] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [cell for panel in DASHBOARD["panels"] for cell in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    columns, rows = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
    return [(x, y) for x in columns for y in rows]


def test_panels_with_many_lines_tell_them_apart() -> None:
    """Each label that an expression keeps is in the legend, and no other."""
    for panel in PANELS:
        for target in panel["targets"]:
            kept = {label.strip() for by in re.findall(r"by \(([^)]+)\)", target["expr"]) for label in by.split(",")}
            told = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert told == (set() if panel["type"] == "stat" else kept - {"le"}), panel["title"]


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """Who is woken up must find what to do."""
    headings = re.findall(r"^### (\w+)$", (HERE.parent / "docs" / "operations.md").read_text(), re.MULTILINE)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert name in headings
        assert rule["labels"]["severity"] in ("page", "ticket")


MINUTES = 150
UP, CALLS = 'up{app_kubernetes_io_name="gateway"}', 'recstack_rpc_seconds_count{{method="{}",code="{}"}}'
FAST = 'recstack_rpc_seconds_bucket{method="Recommend",code="OK",le="0.2"}'
RECOMMENDED, RECORDED_EVENTS = CALLS.format("Recommend", "OK"), CALLS.format("RecordEvents", "OK")


def each_minute(count: float) -> str:
    """A counter."""
    return f"0+{count}x{MINUTES}"


def always(value: float) -> str:
    """A gauge."""
    return f"{value}x{MINUTES}"


HEALTHY = {
    UP: always(1),
    RECOMMENDED: each_minute(600),
    CALLS.format("Recommend", "INVALID_ARGUMENT"): each_minute(60),
    CALLS.format("Recommend", "UNAVAILABLE"): each_minute(0.2),
    FAST: each_minute(597),
    RECORDED_EVENTS: each_minute(90),
    'recstack_degraded_total{component="display"}': each_minute(2),
    CALLS.format("Rank", "OK"): each_minute(600),
    "recstack_bundle_refused": always(0),
    'recstack_bundle_in_use{version="a"}': always(1),
    'recstack_bundle_created_timestamp_seconds{version="a"}': always(-13 * 86_400),
    'recstack_profiles_total{status="present"}': each_minute(500),
    'recstack_profiles_total{status="missing"}': each_minute(100),
    'recstack_profiles_total{status="unspecified"}': each_minute(600),
    "recstack_redis_memory_share": always(0.8),
    "recstack_redis_not_saving": always(0),
    'kube_cronjob_status_last_successful_time{namespace="recstack",cronjob="backup"}': always(-86_400),
}
FIRING: dict[str, dict[str, str]] = {
    "GatewayDown": {UP: always(0)},
    "CallsFail": {CALLS.format("RecordEvents", "UNAVAILABLE"): each_minute(2)},
    "RecommendSlow": {FAST: each_minute(510)},
    "RecommendDegraded": {'recstack_degraded_total{component="ranking"}': each_minute(60)},
    "RankingQueueFull": {CALLS.format("Rank", "RESOURCE_EXHAUSTED"): each_minute(20)},
    "BundleRefused": {"recstack_bundle_refused": always(1)},
    "BundlesDiffer": {'recstack_bundle_in_use{version="b"}': always(1)},
    "BundleOld": {'recstack_bundle_created_timestamp_seconds{version="a"}': always(-16 * 86_400)},
    "UsersUnknown": {'recstack_profiles_total{status="stale"}': each_minute(500)},
    "EventsStopped": {RECORDED_EVENTS: always(7)},
    "RedisFull": {"recstack_redis_memory_share": always(0.9)},
    "RedisNotSaving": {"recstack_redis_not_saving": always(1)},
    "BackupOld": {
        'kube_cronjob_status_last_successful_time{namespace="recstack",cronjob="backup"}': always(-3 * 86_400)
    },
}
"""What differs from a healthy stack. Time begins at 0 here, so that what lies before it is negative."""
QUIET = {
    UP: always(1),
    RECOMMENDED: each_minute(0.5),
    CALLS.format("Recommend", "UNAVAILABLE"): each_minute(0.1),
    FAST: each_minute(0.2),
}
"""A stack that hardly anybody uses: a few failures are a large part of all calls, and wake nobody."""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """By Prometheus' own tester, some hours of each situation. tests/integration/test_alerts.py has a real stack's."""
    assert FIRING.keys() == ALERTS.keys()
    situations = [_situation(HEALTHY | series, {alert}) for alert, series in FIRING.items()]
    situations += [_situation(series, set()) for series in (HEALTHY, QUIET)]
    promtool(tmp_path, RULES["groups"], situations)


def _situation(series: dict[str, str], firing: set[str]) -> dict[str, Any]:
    """A test of promtool: with these series, these alerts fire in the end and no others."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [only_firing(firing, f"{MINUTES}m")],
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("engine", [[], ["ranking-ray"]], ids=["plain", "ray"])
def test_prometheus_finds_and_may_read_every_service(engine: list[str]) -> None:
    """Pods that the PodMonitor selects, its port in them, and a network policy that lets Prometheus in."""
    manifests = build_with([*engine, "network-policy", "monitoring", "bundles-volume"])
    (monitor,) = (manifest["spec"] for manifest in manifests if manifest["kind"] == "PodMonitor")
    (endpoint,) = monitor["podMetricsEndpoints"]
    (settings,) = (one["data"] for one in manifests if one["kind"] == "ConfigMap" and "REDIS_URL" in one["data"])
    port = int(settings["RECSTACK_METRICS__PORT"])
    read = {}
    for manifest in manifests:
        for _, template in pod_templates(manifest):
            labels, ports = template["metadata"]["labels"], template["spec"]["containers"][0].get("ports", [])
            if [one["containerPort"] for one in ports if one["name"] == endpoint["port"]] == [port]:
                assert monitor["selector"]["matchLabels"].items() <= labels.items()
                read[labels["app.kubernetes.io/name"]] = manifest
    assert read.keys() == {"gateway", "feature-store", "retrieval", "ranking"}
    for service in read:
        (policy,) = (
            one["spec"] for one in manifests if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == service
        )
        let_in = {entry["port"] for rule in policy["ingress"] for entry in rule["ports"]}
        assert port in let_in, service


def test_the_page_lists_every_metric_with_its_labels() -> None:
    """In docs/observability.md, neither more nor less."""
    page = (HERE.parent / "docs" / "observability.md").read_text()
    rows = re.findall(r"^\| `(recstack_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    told = {name: {label.strip() for label in labels.split(",") if label.strip()} for name, labels in rows}
    assert told == {metric._name: set(metric._labelnames) for metric in METRICS}
