"""What Prometheus would read from a real stack after real requests."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recstack import Client, Event, EventType, metrics
from recstack.config import MetricsSettings
from recstack.errors import InvalidRequestError, StackError
from recstack.local import LocalStack
from recstack.local.services import METRICS_PORT_STEP, SERVICES
from recstack.metrics import export
from recstack.ports import free_port
from tests.bench.world import make_world

Samples = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Samples]]:
    """Samples of every service after the requests below: (name, values of labels in alphabetical order…) -> value."""
    folder = tmp_path_factory.mktemp("metrics")
    world = make_world(folder / "world", items=200, users=60, history=20)
    ports = MetricsSettings(port=free_port(), host="127.0.0.1")
    settings = world.model_copy(update={"metrics": ports})
    with LocalStack(settings, ranking="plain", free_ports=True, redis_folder=folder / "redis") as stack:
        with stack.client() as client:
            ask(client)
        yield {service.name: read(ports.port + METRICS_PORT_STEP * n) for n, service in enumerate(SERVICES)}


def ask(client: Client) -> None:
    """Three recommendations, one of them to a stranger; an event twice; a question that makes no sense."""
    shown = client.recommend(user_id=1, k=5)
    client.recommend(user_id=2, k=5)
    client.recommend(user_id=99_999, k=5)
    click = shown.items[0].event(EventType.CLICK)
    client.record_events(1, [*shown.impressions(), click])
    client.record_events(1, [click])
    client.record_events(1, [replace(click, arm="made up", event_id="elsewhere")])
    client.record_events(1, [Event(item_id=shown.items[1].item_id, type=EventType.WATCH)])
    with pytest.raises(InvalidRequestError):
        client.recommend(user_id=1, k=0)


def read(port: int) -> Samples:
    """All samples of one /metrics page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {
            (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
            for family in families
            for sample in family.samples
        }


def test_calls_are_counted_by_method_and_outcome(samples: dict[str, Samples]) -> None:
    """The gateway's own warm-up is no call; a refused request has its own code."""
    gateway, ranking = samples["gateway"], samples["ranking"]
    assert gateway["recstack_rpc_seconds_count", "OK", "Recommend"] == 3
    assert gateway["recstack_rpc_seconds_count", "INVALID_ARGUMENT", "Recommend"] == 1
    assert gateway["recstack_rpc_seconds_count", "OK", "RecordEvents"] == 4
    assert ranking["recstack_rpc_seconds_count", "OK", "Rank"] >= 3


def test_the_gateway_tells_stages_channels_scores_and_users(samples: dict[str, Samples]) -> None:
    """Fifteen items were shown, each recalled by at least one channel; one user of three was unknown."""
    gateway = samples["gateway"]
    assert gateway["recstack_stage_seconds_count", "total"] == 3
    assert gateway["recstack_stage_seconds_count", "score/ranking.compute"] == 3
    assert sum(value for key, value in gateway.items() if key[0] == "recstack_shown_total") >= 15
    assert gateway["recstack_shown_score_count", "like_probability"] == 15
    assert gateway["recstack_candidates_count",] == 3
    assert gateway["recstack_cold_starts_total",] == 1
    assert gateway["recstack_profiles_total", "present"] == 2
    assert gateway["recstack_profiles_total", "missing"] == 1
    assert gateway["recstack_history_age_seconds_count",] == 2
    assert not [key for key in gateway if key[0] == "recstack_degraded_total"]


def test_an_event_counts_once(samples: dict[str, Samples]) -> None:
    """A repeated event changes nothing, here as in the history; the second click has an id of its own."""
    gateway = samples["gateway"]
    assert gateway["recstack_events_total", "impression"] == 5
    assert gateway["recstack_events_total", "click"] == 2
    assert gateway["recstack_events_total", "watch"] == 1


def test_events_on_recommended_items_count_by_arm_and_channel(samples: dict[str, Samples]) -> None:
    """Arms that were made up share one label; a watch that nothing recommended is of none."""
    gateway = samples["gateway"]
    (version,) = [key[1] for key in samples["ranking"] if key[0] == "recstack_bundle_in_use"]
    by_arm = {key[1:]: value for key, value in gateway.items() if key[0] == "recstack_arm_events_total"}
    assert by_arm == {(version, "impression"): 5, (version, "click"): 1, ("other", "click"): 1}
    by_channel = {key[1:]: value for key, value in gateway.items() if key[0] == "recstack_channel_events_total"}
    assert {kind for _, kind in by_channel} == {"impression", "click"}
    assert sum(value for (_, kind), value in by_channel.items() if kind == "impression") >= 5
    clicked = {channel for channel, kind in by_channel if kind == "click"}
    assert clicked
    assert all(by_channel[channel, "click"] == 2 for channel in clicked)
    assert all(by_channel[channel, "impression"] >= 1 for channel in clicked)


def test_the_backends_tell_their_part(samples: dict[str, Samples]) -> None:
    """Rows by status, channels, batches, and the bundle that answers."""
    features, retrieval, ranking = (samples[name] for name in ("feature-store", "retrieval", "ranking"))
    assert features["recstack_feature_rows_total", "user", "present"] >= 2
    assert features["recstack_feature_rows_total", "user", "missing"] >= 1
    assert features["recstack_redis_seconds_count", "user"] >= 3
    assert retrieval["recstack_channel_seconds_count", "two_tower"] >= 3
    assert ranking["recstack_rank_batch_requests_count",] >= 3
    assert ranking["recstack_rank_queue_seconds_count",] == ranking["recstack_rank_compute_seconds_count",]
    for service in (retrieval, ranking):
        versions = [key[1] for key, value in service.items() if key[0] == "recstack_bundle_in_use" and value == 1]
        assert len(versions) == 1
        assert service["recstack_bundle_refused",] == 0


def test_a_port_that_is_taken_is_said_so() -> None:
    """And 0 opens none."""
    port = free_port()
    export(MetricsSettings(port=0))
    export(MetricsSettings(port=port, host="127.0.0.1"))
    with pytest.raises(StackError, match="set RECSTACK_METRICS__PORT to another port"):
        export(MetricsSettings(port=port, host="127.0.0.1"))


def test_a_replica_takes_the_first_port_when_its_predecessor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod has one port that Prometheus reads, and replicas come and go in it."""
    monkeypatch.setattr(metrics, "MOVE_SECONDS", 0.1)
    with socket.socket() as predecessor:
        predecessor.bind(("127.0.0.1", 0))
        predecessor.listen()
        port: int = predecessor.getsockname()[1]
        export(MetricsSettings(port=port, host="127.0.0.1"), attempts=32)
    deadline = time.monotonic() + 30
    while True:
        try:
            assert read(port)["recstack_bundle_refused",] == 0
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
