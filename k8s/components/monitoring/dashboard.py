"""Writes dashboard.json, the Grafana dashboard of RecStack: `python k8s/components/monitoring/dashboard.py`.

From the top: is all well, what users get, what they click, and then what each service does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS, HEIGHT = 24, 8
WINDOW = "$__rate_interval"
SLOW = "1h"
"""Window of what happens rarely: over a shorter one a click rate is noise."""


def rate(metric: str, by: str = "", where: str = "", window: str = WINDOW) -> str:
    """Rate of a counter, by labels if some are given."""
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}{f'{{{where}}}' if where else ''}[{window}]))"


def quantile(q: float, metric: str, by: str = "", where: str = "") -> str:
    """Quantile of a histogram, by a label if one is given."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', where)})"


def share(part: str, whole: str) -> str:
    """Of two expressions, one over the other; nothing rather than 0 / 0."""
    return f"{part} / ({whole} > 0)"


CALLS, FAILED = 'method="Recommend"', 'method="Recommend",code!~"OK|INVALID_ARGUMENT|NOT_FOUND|CANCELLED"'
SHOWN = "recstack_shown_total"
CALL_SECONDS, CALL_COUNT = "recstack_rpc_seconds", "recstack_rpc_seconds_count"


def click_rate(metric: str, by: str = "") -> str:
    """Clicks over impressions, by a label if one is given."""
    clicks, shown = (rate(metric, by, f'type="{kind}"', SLOW) for kind in ("click", "impression"))
    return share(clicks, shown)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. queries: expression and legend of each line. limit: from where on a value is bad, for those that tell.

    stacked: lines add up to a whole. exemplars: points that lead to the trace of a request.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    limit: float | None = None
    stacked: bool = False
    exemplars: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


def number(title: str, expression: str, unit: str, limit: float | None = None, about: str = "") -> Panel:
    """A panel of one figure."""
    return Panel(title=title, queries=[(expression, "")], unit=unit, kind="stat", width=4, limit=limit, about=about)


ROWS = [
    Row(
        "At a glance",
        [
            number("Recommendations", rate(CALL_COUNT, where=CALLS), "reqps"),
            number(
                "Failed",
                f"({share(rate(CALL_COUNT, where=FAILED), rate(CALL_COUNT, where=CALLS))}) or vector(0)",
                "percentunit",
                0.001,
                "Of recommendations. What the caller did wrong is not counted.",
            ),
            number("Slowest of a hundred", quantile(0.99, CALL_SECONDS, where=CALLS), "s", 0.2),
            number(
                "Degraded",
                f"({share('max(' + rate('recstack_degraded_total', 'component') + ')', rate(CALL_COUNT, where=CALLS))})"
                " or vector(0)",
                "percentunit",
                0.05,
                "Recommendations without the component that is missing most often.",
            ),
            number(
                "Click rate, 1 h",
                click_rate("recstack_arm_events_total"),
                "percentunit",
                about="Clicks over impressions of recommended items.",
            ),
            number("Bundle's age", "time() - max(recstack_bundle_created_timestamp_seconds)", "s", 15 * 86_400),
        ],
    ),
    Row(
        "What users get",
        [
            Panel(title="Calls by method", queries=[(rate(CALL_COUNT, "method"), "{{method}}")], unit="reqps"),
            Panel(
                title="Recommend: latency",
                queries=[(quantile(q, CALL_SECONDS, where=CALLS), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)],
                unit="s",
                limit=0.2,
                exemplars=True,
            ),
            Panel(
                title="Failed calls",
                queries=[(rate(CALL_COUNT, "method, code", 'code!="OK"'), "{{method}} {{code}}")],
                unit="reqps",
                about="By method and status, of every service.",
            ),
            Panel(
                title="Degraded answers by component",
                queries=[(rate("recstack_degraded_total", "component"), "{{component}}")],
                unit="reqps",
                about="Answers in which a component did less than it should; each answer says why.",
            ),
            Panel(
                title="Stages of a recommendation, p95",
                queries=[(quantile(0.95, "recstack_stage_seconds", "stage"), "{{stage}}")],
                unit="s",
                width=16,
                exemplars=True,
                about="Stages, and after a slash their components. Stages follow each other, their components overlap.",
            ),
        ],
    ),
    Row(
        "What is recommended, and what is clicked",
        [
            Panel(
                title="Channels of the items shown",
                queries=[
                    (
                        f"{rate(SHOWN, 'channel')} / on () group_left () {rate(SHOWN)}",
                        "{{channel}}",
                    )
                ],
                unit="percentunit",
                stacked=True,
                about="An item that several channels recalled counts for each.",
            ),
            Panel(
                title="Scores of the items shown",
                queries=[
                    (quantile(q, "recstack_shown_score", "kind"), f"{{{{kind}}}} p{q * 100:g}") for q in (0.1, 0.5, 0.9)
                ],
                unit="short",
                about="A step without a new bundle means that inputs have changed.",
            ),
            Panel(
                title="Candidates of a recommendation",
                queries=[(quantile(q, "recstack_candidates"), f"p{q * 100:g}") for q in (0.1, 0.5)],
                unit="short",
            ),
            Panel(
                title="Click rate by channel, 1 h",
                queries=[(click_rate("recstack_channel_events_total", "channel"), "{{channel}}")],
                unit="percentunit",
                about="Clicks over impressions; an item that several channels recalled counts for each.",
            ),
            Panel(
                title="Click rate by arm, 1 h",
                queries=[(click_rate("recstack_arm_events_total", "arm"), "{{arm}}")],
                unit="percentunit",
                about="Arms are ranking bundles, or the names that gateways were given for an experiment.",
            ),
            Panel(title="Events", queries=[(rate("recstack_events_total", "type"), "{{type}}")], unit="cps"),
        ],
    ),
    Row(
        "Users and features",
        [
            Panel(
                title="Profiles of those who ask",
                queries=[(rate("recstack_profiles_total", "status"), "{{status}}")],
                unit="cps",
                stacked=True,
                about="Unspecified: the feature store did not answer.",
            ),
            Panel(
                title="Age of the newest event",
                queries=[(quantile(q, "recstack_history_age_seconds"), f"p{q * 100:g}") for q in (0.5, 0.9)],
                unit="s",
                about="Of users with a history, when something is recommended to them.",
            ),
            Panel(
                title="Cold starts",
                queries=[
                    (share(rate("recstack_cold_starts_total"), rate(CALL_COUNT, where=CALLS)), "of recommendations")
                ],
                unit="percentunit",
                about="Users of whom nothing was known.",
            ),
            Panel(
                title="Feature rows by status",
                queries=[(rate("recstack_feature_rows_total", "entity, status"), "{{entity}} {{status}}")],
                unit="rowsps",
            ),
            Panel(
                title="Wait for Redis, p95",
                queries=[(quantile(0.95, "recstack_redis_seconds", "read"), "{{read}}")],
                unit="s",
            ),
            Panel(
                title="Memory of Redis",
                queries=[
                    ("max(recstack_redis_memory_bytes)", "in use"),
                    ("max(recstack_redis_memory_bytes) / (max(recstack_redis_memory_share) > 0)", "limit"),
                ],
                unit="bytes",
            ),
        ],
    ),
    Row(
        "Retrieval, ranking, bundles",
        [
            Panel(
                title="Retrieval: channels, p95",
                queries=[(quantile(0.95, "recstack_channel_seconds", "channel"), "{{channel}}")],
                unit="s",
            ),
            Panel(
                title="Ranking: queue and compute, p95",
                queries=[
                    (quantile(0.95, "recstack_rank_queue_seconds"), "queue"),
                    (quantile(0.95, "recstack_rank_compute_seconds"), "compute"),
                ],
                unit="s",
            ),
            Panel(
                title="Ranking: requests per batch",
                queries=[(quantile(q, "recstack_rank_batch_requests"), f"p{q * 100:g}") for q in (0.5, 0.95)],
                unit="short",
            ),
            Panel(
                title="Failed channels",
                queries=[(rate("recstack_channel_errors_total", "channel"), "{{channel}}")],
                unit="cps",
            ),
            Panel(
                title="Bundles in use",
                queries=[("count by (version) (recstack_bundle_in_use == 1)", "{{version}}")],
                unit="short",
                stacked=True,
                about="Processes by the bundle that answers.",
            ),
            Panel(
                title="Processes that refuse the active bundle",
                queries=[("sum(recstack_bundle_refused)", "processes")],
                unit="short",
                limit=1,
            ),
        ],
    ),
]


def target(panel: Panel, index: int) -> dict[str, Any]:
    """One query."""
    expression, legend = panel.queries[index]
    reference = chr(ord("A") + index)
    return {"refId": reference, "expr": expression, "legendFormat": legend, "exemplar": panel.exemplars}


def drawn(panel: Panel, place: dict[str, int], identity: int) -> dict[str, Any]:
    """One panel in its place."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    series = panel.kind == "timeseries"
    custom: dict[str, Any] = {"fillOpacity": 30 if panel.stacked else 5, "showPoints": "never"}
    custom["stacking"] = {"mode": "normal" if panel.stacked else "none"}
    custom["thresholdsStyle"] = {"mode": "off" if panel.limit is None else "line"}
    options: dict[str, Any] = (
        {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        if series
        else {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    )
    return {
        "id": identity,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"custom": custom} if series else {}),
            },
            "overrides": [],
        },
        "options": options,
        "targets": [target(panel, index) for index in range(len(panel.queries))],
    }


def laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Headings and panels, from left to right and from top to bottom."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        heading = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "gridPos": heading,
                "collapsed": False,
                "panels": [],
            }
        )
        y, x = y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            height = HEIGHT if panel.kind == "timeseries" else HEIGHT // 2
            panels.append(drawn(panel, {"x": x, "y": y, "w": panel.width, "h": height}, len(panels) + 1))
            x += panel.width
        y += height
    return panels


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "recstack",
        "title": "RecStack",
        "tags": ["recstack"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [datasource]},
        "panels": laid_out(ROWS),
    }


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(dashboard(), indent=1) + "\n")
    print(f"Written to {path}")
