"""Alerts and dashboard on what a real stack tells while it is well, and while it is broken in one way after another.

A phase lasts a second or two here. For the alerts its counters are stretched: an hour in which each minute is ten times
the healthy phase, then an hour of the phase in question. That recommendations are not slow is not claimed of a test
machine, which may be; where ranking hangs they are.
"""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from k8s.validate import HERE
from recstack import Client, EventType, InvalidRequestError, RecStackError
from recstack.bundle import BundleStore
from recstack.config import BundleSettings, MetricsSettings
from recstack.local import LocalStack
from recstack.local.services import METRICS_PORT_STEP, SERVICES
from recstack.ports import free_port
from tests.bench.world import make_world
from tests.helpers.prometheus import PrometheusServer, Series, Targets, only_firing, promtool

pytestmark = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")), reason="needs Prometheus (Debian package prometheus)"
)

MONITORING = HERE / "components" / "monitoring"
GROUPS: list[Any] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
NAMES = {name for rule in RULES for name in re.findall(r"\b(?:recstack_\w+|up)\b", rule["expr"])}
PANELS = [panel for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"] if "targets" in panel]
PATIENCE = 60.0
KNOWN_USERS, STRANGERS = range(1, 21), range(90_000, 90_020)
MINUTES, A_MINUTE = 60, 10


@dataclass(frozen=True)
class Phase:
    """What counters read before and after a phase, and which alerts it should have fired by its end."""

    name: str
    firing: set[str]
    before: Series
    after: Series

    def values(self, series: str) -> tuple[float, float] | None:
        """First value and growth a minute of a counter; a gauge does not grow. None for a process that is gone."""
        if series not in self.after:
            return None
        if not re.match(r"\w+_(total|count|bucket|sum)\{", series):
            return self.after[series], 0.0
        return 0.0, A_MINUTE * (self.after[series] - self.before.get(series, 0.0))


@dataclass
class Run:
    """One stack's troubles."""

    stack: LocalStack
    targets: Targets
    phases: list[Phase] = field(default_factory=list)
    panels: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)

    def phase(self, name: str, firing: set[str], act: Callable[[], None]) -> None:
        """Do something, and note what the metrics say of it."""
        before = self.targets.scrape(NAMES)
        act()
        self.phases.append(Phase(name, firing, before, self.targets.scrape(NAMES)))

    def pid(self, service: str) -> int:
        """Of a process of the stack."""
        return next(process.pid for process in self.stack.state.processes if process.name == service)

    def client(self, timeout: float = 10.0) -> Client:
        """With time enough for a busy machine: components get a share of it."""
        return self.stack.client(timeout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All phases, each on a stack that has recovered from the one before."""
    folder = tmp_path_factory.mktemp("alerts")
    world = make_world(folder / "world", items=200, users=60, history=20)
    settings = world.model_copy(
        update={
            "drain_seconds": 0.5,
            "metrics": MetricsSettings(port=free_port(), host="127.0.0.1"),
            "bundle": BundleSettings(store=world.bundle_store, poll_seconds=0.2),
            "ranking": world.ranking.model_copy(update={"max_queued": 1}),
            "feature_store": world.feature_store.model_copy(update={"redis_timeout_ms": 5000}),
        }
    )
    ports = {service.name: settings.metrics.port + METRICS_PORT_STEP * n for n, service in enumerate(SERVICES)}
    targets = Targets(ports)
    with LocalStack(settings, ranking="plain", free_ports=True, redis_folder=folder / "redis") as stack:
        run = Run(stack, targets)
        with PrometheusServer(folder / "prometheus", targets, GROUPS) as prometheus:
            with run.client() as client:
                recoverable_trouble(run, client)
                until(
                    lambda: not silent_panels(run, prometheus, client), "every panel of the dashboard shows something"
                )
            run.rules = prometheus.rules()
            run.phase("redis gone", {"CallsFail", "RecommendDegraded"}, lambda: lose_redis(run))
            run.phase("gateway gone", {"GatewayDown"}, lambda: kill(run.pid("gateway")))
    return run


def recoverable_trouble(run: Run, client: Client) -> None:
    """One phase after another, from each of which the stack recovers."""
    run.phase("healthy", set(), lambda: visit(client, KNOWN_USERS))
    run.phase("strangers", {"UsersUnknown"}, lambda: visit(client, STRANGERS))
    run.phase("no events", {"EventsStopped"}, lambda: look(client))
    run.phase("overload", {"RankingQueueFull", "RecommendDegraded"}, lambda: overload(run, client))
    run.phase("bundle and memory", {"BundleRefused", "RedisFull"}, lambda: refuse_and_fill(run, client))
    recover(run)
    run.phase("ranking hangs", {"RecommendSlow", "RecommendDegraded"}, lambda: hang_ranking(run))


def visit(client: Client, users: range) -> None:
    """Users look at a page and click on what comes first."""
    for user in users:
        page = client.recommend(user, k=10)
        client.record_events(user, [*page.impressions(), page.items[0].event(EventType.CLICK)])


def look(client: Client) -> None:
    """Users of whom nothing is heard again."""
    for user in KNOWN_USERS:
        client.recommend(user, k=10)


def overload(run: Run, client: Client) -> None:
    """Ranking stands still until many calls have come, and finds them all at once: its queue has room for one."""
    visit(client, range(1, 3))
    while calls(run, "ranking", "Rank", "RESOURCE_EXHAUSTED") < 10:
        waiting = calls(run, "retrieval", "Retrieve", "OK") + 16
        with stopped(run.pid("ranking")), ThreadPoolExecutor(16) as callers:
            pages = callers.map(lambda user: client.recommend(user, k=10), range(1, 17))
            until(lambda enough=waiting: calls(run, "retrieval", "Retrieve", "OK") >= enough, "16 calls wait")
            os.kill(run.pid("ranking"), signal.SIGCONT)
            assert len(list(pages)) == 16


def calls(run: Run, service: str, method: str, code: str) -> float:
    """Calls that a service has answered so."""
    series = run.targets.scrape_one(service, ["recstack_rpc_seconds_count"])
    return sum(value for name, value in series.items() if f'code="{code}"' in name and f'method="{method}"' in name)


def refuse_and_fill(run: Run, client: Client) -> None:
    """A damaged bundle is made the active one, and Redis is told that it has nearly no room left."""
    bundles = Path(run.stack.settings.bundle_store)
    good = run.stack.state.bundle_version
    bad = f"{good}-damaged"
    shutil.copytree(bundles / good, bundles / bad)
    (bundles / bad / "golden.npz").write_bytes(b"damaged")
    point_to(bundles, bad)
    with redis.Redis.from_url(run.stack.settings.redis_url) as server:
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] / 0.9))
    until(lambda: highest(run, "recstack_bundle_refused") == 1, "the bundle is refused")
    until(lambda: highest(run, "recstack_redis_memory_share") > 0.85, "Redis is nearly full")
    visit(client, KNOWN_USERS)


def recover(run: Run) -> None:
    """The good bundle again, and a limit that is far away."""
    BundleStore.of(run.stack.settings).activate(run.stack.state.bundle_version)
    with redis.Redis.from_url(run.stack.settings.redis_url) as server:
        server.config_set("maxmemory", 1 << 30)
    until(lambda: highest(run, "recstack_bundle_refused") == 0, "the bundle is taken")
    until(lambda: highest(run, "recstack_redis_memory_share") < 0.85, "Redis has room")


def hang_ranking(run: Run) -> None:
    """Ranking neither answers nor refuses, for as long as callers wait."""
    with stopped(run.pid("ranking")):
        with run.client(timeout=1.0) as client, ThreadPoolExecutor(20) as callers:
            pages = list(callers.map(lambda user: client.recommend(user, k=10), KNOWN_USERS))
        with run.client() as client:
            client.record_events(1, pages[0].impressions())


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is there and does nothing; it goes on at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def lose_redis(run: Run) -> None:
    """Recommendations go on; events are refused."""
    kill(run.pid("redis"))
    with run.client(timeout=2.0) as client:
        for user in KNOWN_USERS[:5]:  # each call is retried for a while
            page = client.recommend(user, k=10)
            assert page.degraded
            with pytest.raises(RecStackError):
                client.record_events(user, page.impressions())


def silent_panels(run: Run, prometheus: PrometheusServer, client: Client) -> set[str]:
    """Panels that have shown no number yet; some more traffic, then every query is asked for the whole run."""
    visit(client, KNOWN_USERS)
    with pytest.raises(InvalidRequestError):
        client.recommend(1, k=0)
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "10s")
            numbers = [line for line in prometheus.history(query) if any(v != "NaN" for _, v in line["values"])]
            run.panels[panel["title"], target["expr"]] = numbers
    return {title for (title, _), lines in run.panels.items() if not lines} - {NOTHING_TO_SHOW}


NOTHING_TO_SHOW = "Failed channels"
"""The one panel that stays empty: a channel fails by itself only through a defect."""


def highest(run: Run, gauge: str) -> float:
    """Of all services."""
    return max(value for name, value in run.targets.scrape([gauge]).items() if name.startswith(gauge))


def point_to(bundles: Path, version: str) -> None:
    """As a disk would that lost bytes later on: activating it by the front door is refused."""
    pointer = bundles / "active.json"
    pointer.with_suffix(".new").write_text(json.dumps({"versions": [version]}))
    pointer.with_suffix(".new").replace(pointer)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], what: str) -> None:
    """Return when it is true; AssertionError after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.2)


def test_alerts_of_each_phase(run: Run, tmp_path: Path) -> None:
    """None while the stack is well, the right ones and no others in each trouble."""
    healthy = run.phases[0]
    promtool(tmp_path, GROUPS, [stretched(healthy, phase) for phase in run.phases])


def stretched(healthy: Phase, phase: Phase) -> dict[str, Any]:
    """A test of promtool: an hour of the healthy phase, then an hour of another."""
    series = {one for one in {*healthy.after, *phase.after} if "le=" not in one or 'le="0.2"' in one}
    slow = "RecommendSlow" in phase.firing
    claimed = "|".join(
        rule["alert"] for rule in RULES if "alert" in rule and (slow or rule["alert"] != "RecommendSlow")
    )
    return {
        "name": phase.name,
        "interval": "1m",
        "input_series": [{"series": one, "values": two_hours(healthy, phase, one)} for one in sorted(series)],
        "promql_expr_test": [
            only_firing(set(), f"{MINUTES - 1}m", claimed.replace("|RecommendSlow", "")),
            only_firing(phase.firing, f"{2 * MINUTES - 1}m", claimed),
        ],
    }


def two_hours(healthy: Phase, phase: Phase, series: str) -> str:
    """Samples of a counter or gauge, one a minute; a counter goes on from where it was."""
    words, reached = [], 0.0
    for part in (healthy, phase):
        found = part.values(series)
        if found is None:
            words += ["_"] * MINUTES
            continue
        first, growth = found
        words += [f"{first + reached + growth * minute:g}" for minute in range(1, MINUTES + 1)]
        reached += growth * MINUTES
    return " ".join(words)


def test_every_panel_of_the_dashboard_shows_the_run(run: Run) -> None:
    """Asked of a Prometheus that watched; lines have the labels that the legend names."""
    legends = {target["expr"]: target["legendFormat"] for panel in PANELS for target in panel["targets"]}
    for (title, query), lines in run.panels.items():
        assert lines or title == NOTHING_TO_SHOW, title
        for line in lines:
            assert set(re.findall(r"{{(\w+)}}", legends[query])) <= line["metric"].keys(), title


def test_click_rates_are_told_by_arm_and_by_channel(run: Run) -> None:
    """A click for ten impressions, of the bundle that ranked and of none other; recall's page was only looked at."""
    by_arm = last_values(run, "Click rate by arm, 1 h", "arm")
    assert by_arm[run.stack.state.bundle_version] == pytest.approx(0.1, abs=0.05)
    assert by_arm.keys() <= {run.stack.state.bundle_version, "recall"}
    by_channel = last_values(run, "Click rate by channel, 1 h", "channel")
    assert by_channel
    assert all(0 <= rate <= 1 for rate in by_channel.values())


def last_values(run: Run, panel: str, label: str) -> dict[str, float]:
    lines = next(lines for (title, _), lines in run.panels.items() if title == panel)
    return {line["metric"][label]: float(line["values"][-1][1]) for line in lines}


def test_every_rule_can_be_evaluated_on_real_series(run: Run) -> None:
    """Some errors, as of matching many with many, show on data alone."""
    assert len(run.rules) == len(RULES)
    assert {rule["health"] for rule in run.rules} == {"ok"}, [rule for rule in run.rules if rule["health"] != "ok"]
