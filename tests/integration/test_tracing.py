"""One request through a real stack: its trace at a collector, its id in the logs, its exemplar in the metrics."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.config import MetricsSettings, TracingSettings
from recstack.local import LocalStack
from recstack.local.services import METRICS_PORT_STEP, SERVICES
from recstack.ports import free_port
from recstack.rpc.channel import sync_channel
from recstack.rpc.request_id import HEADER
from recstack.tracing import exported_traces, recording, server_call
from tests.bench.world import make_world
from tests.helpers.collector import Collector, ReceivedSpan, running_collector

CALLERS_SPAN = "b7ad6b7169203331"
CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
UNSAMPLED_TRACE = "1af7651916cd43dd8448eb211c80319c"
FAILED_TRACE = "2af7651916cd43dd8448eb211c80319c"
GATEWAY, FEATURES, RETRIEVAL, RANKING = (
    f"recstack.api.{name}Service"
    for name in ("gateway.v1.Recommender", "features.v1.FeatureStore", "retrieval.v1.Retrieval", "ranking.v1.Ranking")
)
SERVER, CLIENT = 2, 3  # kinds of spans


@dataclass(frozen=True)
class Run:
    """What a stack left behind: spans, log lines by service, and the gateway's metrics."""

    collector: Collector
    logs: dict[str, list[dict[str, Any]]]
    metrics: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A stack that exports nothing before it drains: what arrives has been flushed."""
    folder = tmp_path_factory.mktemp("tracing")
    world = make_world(folder / "world", items=200, users=60, history=20)
    with pytest.MonkeyPatch.context() as environment, running_collector() as collector:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        metrics_port = free_port()
        changes = {
            "metrics": MetricsSettings(port=metrics_port, host="127.0.0.1"),
            "tracing": TracingSettings(endpoint=collector.endpoint),
            "log_format": "json",
        }
        settings = world.model_copy(update=changes)
        with LocalStack(settings, ranking="plain", free_ports=True, redis_folder=folder / "redis") as stack:
            with sync_channel(stack.settings.gateway.address) as channel:
                ask(gateway_pb2_grpc.RecommenderServiceStub(channel), stack)
            metrics = scrape(metrics_port + METRICS_PORT_STEP * [one.name for one in SERVICES].index("gateway"))
            logs = {process.name: process.log for process in stack.state.processes}
        yield Run(collector, {name: read(path) for name, path in logs.items()}, metrics)


def ask(gateway: Any, stack: LocalStack) -> None:
    """Recommendations within a caller's trace, outside one and in one that is not sampled; events that fail."""
    ask = gateway_pb2.RecommendRequest(user_id=1, k=5, request_id="of-the-caller")
    gateway.Recommend(ask, metadata=(within(CALLERS_TRACE),))
    gateway.Recommend(gateway_pb2.RecommendRequest(user_id=1, k=5), metadata=((HEADER, "of-a-header"),))
    gateway.Recommend(ask, metadata=(within(UNSAMPLED_TRACE, sampled="00"),))
    (redis,) = (process.pid for process in stack.state.processes if process.name == "redis")
    os.kill(redis, signal.SIGSTOP)
    try:
        events = gateway_pb2.RecordEventsRequest(
            user_id=1, event_ids=["e"], types=[2], item_ids=[1], timestamps_ms=[0], ratings=[0]
        )
        with pytest.raises(grpc.RpcError):
            # With time for all attempts: none is cut off.
            gateway.RecordEvents(events, timeout=60, metadata=((HEADER, "of-events"), within(FAILED_TRACE)))
    finally:
        os.kill(redis, signal.SIGCONT)


def within(trace_id: str, sampled: str = "01") -> tuple[str, str]:
    """What a caller sends along whose own span is part of a trace."""
    return "traceparent", f"00-{trace_id}-{CALLERS_SPAN}-{sampled}"


def scrape(port: int) -> str:
    """A /metrics page in the format that has exemplars."""
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=wanted)
    with urllib.request.urlopen(request, timeout=10) as page:
        return str(page.read().decode())


def read(log: Path) -> list[dict[str, Any]]:
    """Lines of a service's log."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def one(spans: list[ReceivedSpan], name: str, kind: int = 1) -> ReceivedSpan:
    """The only span of that name and kind."""
    (found,) = (span for span in spans if (span.name, span.kind) == (name, kind))
    return found


def test_a_trace_shows_every_hop_below_the_one_that_caused_it(run: Run) -> None:
    """From the caller's span to Redis, through the gateway's stages."""
    spans = run.collector.trace(CALLERS_TRACE)
    names = {span.span_id: (span.service.removeprefix("recstack."), span.name) for span in spans}

    def above(span: ReceivedSpan) -> list[tuple[str, str]]:
        """What a span is part of, innermost first."""
        parents = {one.span_id: one.parent for one in spans}
        found, parent = [], span.parent
        while parent in names:
            found.append(names[parent])
            parent = parents[parent]
        assert parent == CALLERS_SPAN
        return found

    root = [("gateway", f"{GATEWAY}/Recommend")]
    hops = {
        f"{FEATURES}/GetUser": "hydrate/user_features",
        f"{RETRIEVAL}/Retrieve": "sources/recall",
        f"{RANKING}/Rank": "score/ranking",
    }
    assert above(one(spans, f"{GATEWAY}/Recommend", SERVER)) == []
    for method, component in hops.items():
        assert above(one(spans, method, CLIENT)) == [("gateway", component), *root]
        assert above(one(spans, method, SERVER)) == [("gateway", method), ("gateway", component), *root]
    for stage in ("merge", "filters", "select"):
        assert above(one(spans, stage)) == root
    (user_read, *_) = (span for span in spans if (span.name, span.kind) == ("MGET", CLIENT))
    assert names[user_read.parent] == ("feature_store", f"{FEATURES}/GetUser")
    assert not [span for span in spans if span.failed]


def test_spans_say_what_happened_in_them(run: Run) -> None:
    """In the names of OpenTelemetry's conventions, and in ours for what is ours."""
    spans = run.collector.trace(CALLERS_TRACE)
    gateway = one(spans, f"{GATEWAY}/Recommend", SERVER).attributes
    assert gateway["rpc.system.name"] == "grpc"
    assert gateway["rpc.method"] == f"{GATEWAY}/Recommend"
    assert gateway["rpc.response.status_code"] == "OK"
    assert gateway["recstack.shown"] == 5
    assert gateway["recstack.degraded"] == []
    assert gateway["recstack.bundle.retrieval"] == gateway["recstack.bundle.ranking"]
    call = one(spans, f"{RANKING}/Rank", CLIENT).attributes
    assert call["rpc.response.status_code"] == "OK"
    assert call["server.port"] > 0
    rank = one(spans, f"{RANKING}/Rank", SERVER).attributes
    assert rank["recstack.batch_requests"] == 1
    assert rank["recstack.candidates"] == gateway["recstack.candidates"]
    assert {"recstack.queue_ms", "recstack.compute_ms"} <= rank.keys()
    assert {"two_tower", "popular"} <= set(one(spans, f"{RETRIEVAL}/Retrieve", SERVER).events)
    redis = next(span for span in spans if span.name == "MGET").attributes
    assert redis["db.system.name"] == "redis"


def test_the_id_of_a_request_goes_all_the_way(run: Run) -> None:
    """The caller's own, from its field or its metadata; the gateway's warm-up has one too."""
    for request_id in ("of-the-caller", "of-a-header"):
        spans = [span for span in run.collector.spans if span.attributes.get("recstack.request_id") == request_id]
        assert {span.service.removeprefix("recstack.") for span in spans} == {
            "gateway",
            "feature_store",
            "retrieval",
            "ranking",
        }
        assert len({span.trace_id for span in spans}) == 1
    assert not run.collector.trace(UNSAMPLED_TRACE)  # the caller decides for its own trace
    assert not [span for span in run.collector.spans if "grpc.health" in span.name]


def test_a_failure_in_a_backend_is_found_from_the_gateways_by_its_id(run: Run) -> None:
    """In both logs and in the trace: a line and a failed span for each attempt, for UNAVAILABLE is tried again."""
    spans = run.collector.trace(FAILED_TRACE)
    for service, method in (("gateway", f"{GATEWAY}/RecordEvents"), ("feature-store", f"{FEATURES}/WriteEvents")):
        lines = [line for line in run.logs[service] if line.get("request_id") == "of-events"]
        attempts = [span for span in spans if (span.name, span.kind) == (method, SERVER)]
        assert len(lines) == len(attempts) > 0
        assert {line["trace_id"] for line in lines} == {FAILED_TRACE}
        assert all("Redis" in line["message"] and "did not answer in time" in line["message"] for line in lines)
        assert all(span.failed for span in attempts)
        assert {span.attributes["rpc.response.status_code"] for span in attempts} == {"UNAVAILABLE"}


def test_durations_lead_to_traces(run: Run) -> None:
    """Exemplars of calls and of stages, for scrapers that ask for OpenMetrics."""
    exemplars: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(run.metrics):
        for sample in family.samples:
            if sample.exemplar:
                exemplars.setdefault(family.name, set()).add(sample.exemplar.labels["trace_id"])
    traced = {span.trace_id for span in run.collector.spans}
    assert exemplars.keys() == {"recstack_rpc_seconds", "recstack_stage_seconds"}
    for trace_ids in exemplars.values():
        assert trace_ids <= traced
        assert UNSAMPLED_TRACE not in trace_ids


def test_off_means_that_nothing_is_imported() -> None:
    """OpenTelemetry costs memory and time at every call."""
    script = """
import sys
from recstack.config import Settings
from recstack.logs import setup_logging
from recstack.rpc.served_call import served_call
from recstack.tracing import exported_traces
from services.gateway.app import serve
settings = Settings()
setup_logging(settings)
with exported_traces(settings.tracing, "recstack.gateway"), served_call("/a.B/C", ()):
    print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_an_endpoint_is_a_url() -> None:
    """host:port alone would be taken for TLS by the exporter."""
    with pytest.raises(ValueError, match="endpoint"):
        TracingSettings(endpoint="127.0.0.1:4317")


def test_a_collector_that_hangs_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is being sent is given up: had the exporter's own timeout ended it, the status were another."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "25")
    monkeypatch.setattr("recstack.spans.CLOSE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with exported_traces(TracingSettings(endpoint=endpoint), "recstack.test"), server_call("/a.B/C", ()):
            assert recording()
    assert not recording()
    assert "error code: StatusCode.CANCELLED" in caplog.text
