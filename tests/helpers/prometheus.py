"""Prometheus' own tools, for tests of alerts and dashboards."""

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml


def promtool(folder: Path, groups: Sequence[Any], tests: Sequence[Any]) -> None:
    """Check rules and run their unit tests; AssertionError with promtool's words when one fails."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    file = {"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(file))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        result = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def only_firing(alerts: Collection[str], at: str, among: str = ".*") -> dict[str, Any]:
    """A promtool expectation: at this time these alerts fire, and of those whose names match `among` no others."""
    return {
        "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname=~"{among}"}}) > bool 0',
        "eval_time": at,
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)],
    }
