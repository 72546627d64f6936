"""Prometheus' own tools, for tests of alerts and dashboards."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from recstack.lifeline import tied_to_parent
from recstack.ports import free_port

Series = dict[str, float]
"""Values by series, as promtool writes them: name{label="value",…}."""


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


class Targets:
    """Services whose metrics are read, by name and port, as the PodMonitor would label them."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.ports = dict(ports)

    def scrape(self, names: Collection[str]) -> Series:
        """All series of these names, and `up`; a service that does not answer has nothing but `up` 0."""
        return {name: value for service in self.ports for name, value in self.scrape_one(service, names).items()}

    def scrape_one(self, service: str, names: Collection[str]) -> Series:
        """The same of one service."""
        port = self.ports[service]
        own = {"app_kubernetes_io_name": service, "instance": f"127.0.0.1:{port}"}
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                text = page.read().decode()
        except OSError:
            text = ""
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        series = {_text(one.name, own | one.labels): one.value for one in samples if one.name in names}
        return series | {_text("up", own): float(bool(text))}


class PrometheusServer:
    """A real Prometheus that reads `targets` each second and evaluates `groups`; a context manager."""

    def __init__(self, folder: Path, targets: Targets, groups: Sequence[Any]) -> None:
        self._folder = folder
        self._port = free_port()
        self._started = time.time()
        folder.mkdir()
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        jobs = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"app_kubernetes_io_name": service}}
            for service, port in targets.ports.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "recstack", "static_configs": jobs}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        binary = shutil.which("prometheus")
        assert binary
        options = {
            "config.file": self._folder / "prometheus.yaml",
            "storage.tsdb.path": self._folder / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
        }
        command = [binary, *(f"--{name}={value}" for name, value in options.items())]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(tied_to_parent(command), stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def history(self, expression: str) -> list[dict[str, Any]]:
        """Each series of an expression with its values since the start, second by second."""
        times = {"start": str(self._started), "end": str(time.time()), "step": "1"}
        result: list[dict[str, Any]] = self._get("query_range", {"query": expression, **times})["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All rules, each with what became of its last evaluation."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]


def _text(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"
