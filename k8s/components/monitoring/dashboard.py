"""Writes dashboard.json, the Grafana dashboard of RecStack: `python k8s/components/monitoring/dashboard.py`."""

import json
from pathlib import Path
from typing import Any

QUANTILE = "histogram_quantile({q}, sum by (le{by}) (rate({metric}_bucket{where}[$__rate_interval])))"
WIDTH, HEIGHT, PER_ROW = 8, 7, 3


def rate(metric: str, by: str, where: str = "") -> str:
    """Rate of a counter, by a label."""
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    """Quantile of a histogram, by a label if one is given."""
    return QUANTILE.format(q=q, metric=metric, by=f", {by}" if by else "", where=where)


RECOMMEND = '{method="Recommend"}'
CTR = " / ".join(f'sum(rate(recstack_events_total{{type="{kind}"}}[15m]))' for kind in ("click", "impression"))
PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
    (
        "Calls by method and outcome",
        "reqps",
        [(rate("recstack_rpc_seconds_count", "method, code"), "{{method}} {{code}}")],
    ),
    (
        "Recommend: latency",
        "s",
        [(quantile(q, "recstack_rpc_seconds", "", RECOMMEND), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
    ),
    ("Stages of a recommendation, p95", "s", [(quantile(0.95, "recstack_stage_seconds", "stage"), "{{stage}}")]),
    ("Degraded answers by component", "reqps", [(rate("recstack_degraded_total", "component"), "{{component}}")]),
    ("Items shown by channel", "cps", [(rate("recstack_shown_total", "channel"), "{{channel}}")]),
    (
        "Candidates, median; cold starts",
        "short",
        [
            (quantile(0.5, "recstack_candidates"), "candidates"),
            ("sum(rate(recstack_cold_starts_total[$__rate_interval]))", "cold starts/s"),
        ],
    ),
    (
        "Ranking: queue and compute, p95",
        "s",
        [
            (quantile(0.95, "recstack_rank_queue_seconds"), "queue"),
            (quantile(0.95, "recstack_rank_compute_seconds"), "compute"),
        ],
    ),
    ("Ranking: requests per batch, median", "short", [(quantile(0.5, "recstack_rank_batch_requests"), "requests")]),
    (
        "Scores of shown items",
        "short",
        [(quantile(q, "recstack_shown_score", "kind"), f"{{{{kind}}}} p{q * 100:g}") for q in (0.1, 0.5, 0.9)],
    ),
    ("Retrieval channels, p95", "s", [(quantile(0.95, "recstack_channel_seconds", "channel"), "{{channel}}")]),
    (
        "Feature rows by status",
        "cps",
        [(rate("recstack_feature_rows_total", "entity, status"), "{{entity}} {{status}}")],
    ),
    ("Wait for Redis, p95", "s", [(quantile(0.95, "recstack_redis_seconds", "read"), "{{read}}")]),
    ("Age of the newest event, median", "s", [(quantile(0.5, "recstack_history_age_seconds"), "age")]),
    (
        "Events by type; clicks per impression",
        "cps",
        [
            (rate("recstack_events_total", "type"), "{{type}}"),
            (CTR, "CTR"),
        ],
    ),
    ("Bundles in use", "short", [("count by (version) (recstack_bundle_in_use == 1)", "{{version}}")]),
]


def panel(number: int, title: str, unit: str, targets: list[tuple[str, str]]) -> dict[str, Any]:
    """One time series, in its place of the grid."""
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": number % PER_ROW * WIDTH, "y": number // PER_ROW * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(targets)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    return {
        "uid": "recstack",
        "title": "RecStack",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(number, *content) for number, content in enumerate(PANELS)],
    }


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(dashboard(), indent=1) + "\n")
    print(f"Written to {path}")
