"""Alerts and dashboard: they speak of metrics that exist, and alerts fire when they should and only then."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from k8s.validate import HERE
from recstack import metrics

MONITORING = HERE / "components" / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
METRICS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
LABELS = {metric._name: {*metric._labelnames, "le"} for metric in METRICS}
"""Labels by the name of a metric, without the endings of its samples."""


def expressions() -> list[str]:
    """Every expression of the alerts and the dashboard."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in ALERTS.values()]


def test_every_expression_speaks_of_metrics_and_labels_that_exist() -> None:
    """A misspelt name gives an empty panel, and an alert that never fires."""
    samples = {sample for metric in METRICS for sample in _sample_names(metric)}
    for expression in expressions():
        for name, selector in re.findall(r"\b(recstack_\w+)(?:\{([^}]*)\})?", expression):
            assert name in samples, f"{name} in {expression}"
            base = re.sub(r"_(total|count|sum|bucket)$", "", name)
            assert set(re.findall(r"(\w+)\s*[!=]~?\"", selector)) <= LABELS[base], expression
        grouped = {label.strip() for by in re.findall(r"by \(([^)]+)\)", expression) for label in by.split(",")}
        known = set.union(*(LABELS[name] for name in LABELS if name in expression))
        assert grouped <= known, expression


def _sample_names(metric: MetricWrapperBase) -> list[str]:
    """As Prometheus will see them."""
    return [name for name, owner in REGISTRY._names_to_collectors.items() if owner is metric]


def test_the_dashboard_is_what_its_script_writes() -> None:
    """And no panel lies on another."""
    script = runpy.run_path(str(MONITORING / "dashboard.py"))
    dashboard = script["dashboard"]()
    assert dashboard == json.loads((MONITORING / "dashboard.json").read_text())
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])


def test_every_alert_has_its_section_in_the_runbook() -> None:
    """Who is woken up must find what to do."""
    headings = re.findall(r"^### (\w+)$", (HERE.parent / "docs" / "operations.md").read_text(), re.MULTILINE)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
        assert name in headings
        assert rule["labels"]["severity"] in ("page", "ticket")


RECOMMEND = 'recstack_rpc_seconds_count{{method="Recommend",code="{}"}}'
FIRING: dict[str, dict[str, str]] = {
    "RecommendErrors": {RECOMMEND.format("OK"): "0+600x60", RECOMMEND.format("UNAVAILABLE"): "0+30x60"},
    "RecommendSlow": {
        'recstack_rpc_seconds_bucket{method="Recommend",le="0.2"}': "0+900x60",
        'recstack_rpc_seconds_bucket{method="Recommend",le="0.5"}': "0+950x60",
        'recstack_rpc_seconds_bucket{method="Recommend",le="+Inf"}': "0+950x60",
    },
    "RecommendDegraded": {
        RECOMMEND.format("OK"): "0+600x60",
        'recstack_degraded_total{component="ranking"}': "0+60x60",
    },
    "RankingQueueFull": {
        'recstack_rpc_seconds_count{method="Rank",code="OK"}': "0+600x60",
        'recstack_rpc_seconds_count{method="Rank",code="RESOURCE_EXHAUSTED"}': "0+20x60",
    },
    "BundleRefused": {"recstack_bundle_refused": "1x60"},
    "BundlesDiffer": {'recstack_bundle_in_use{version="a"}': "1x60", 'recstack_bundle_in_use{version="b"}': "1x60"},
    "UsersUnknown": {
        'recstack_profiles_total{status="present"}': "0+40x60",
        'recstack_profiles_total{status="missing"}': "0+60x60",
    },
    "EventsStopped": {RECOMMEND.format("OK"): "0+600x60", 'recstack_events_total{type="click"}': "7x60"},
}
HEALTHY = {
    RECOMMEND.format("OK"): "0+600x60",
    RECOMMEND.format("INVALID_ARGUMENT"): "0+60x60",
    RECOMMEND.format("UNAVAILABLE"): "0+1x60",
    'recstack_rpc_seconds_bucket{method="Recommend",le="0.05"}': "0+600x60",
    'recstack_rpc_seconds_bucket{method="Recommend",le="+Inf"}': "0+601x60",
    'recstack_degraded_total{component="display"}': "0+2x60",
    'recstack_rpc_seconds_count{method="Rank",code="OK"}': "0+600x60",
    "recstack_bundle_refused": "0x60",
    'recstack_bundle_in_use{version="a"}': "1x60",
    'recstack_profiles_total{status="present"}': "0+500x60",
    'recstack_profiles_total{status="missing"}': "0+100x60",
    'recstack_events_total{type="click"}': "0+90x60",
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """By Prometheus' own tester, an hour of each situation."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": RULES["groups"]}))
    assert FIRING.keys() == ALERTS.keys()
    situations = [_situation(series, {alert}) for alert, series in FIRING.items()] + [_situation(HEALTHY, set())]
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": situations}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        result = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def _situation(series: dict[str, str], firing: set[str]) -> dict[str, Any]:
    """A test of promtool: with these series, these alerts fire after an hour and no others."""
    counts = [
        {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)', "eval_time": "59m",
         "exp_samples": [{"labels": "{}", "value": int(name in firing)}]}
        for name in ALERTS
    ]  # fmt: skip
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": counts,
    }


def test_the_page_lists_every_metric_with_its_labels() -> None:
    """In docs/observability.md, neither more nor less."""
    page = (HERE.parent / "docs" / "observability.md").read_text()
    rows = re.findall(r"^\| `(recstack_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    told = {name: {label.strip() for label in labels.split(",") if label.strip()} for name, labels in rows}
    assert told == {metric._name: set(metric._labelnames) for metric in METRICS}
