"""How settings reach the services of a local stack."""

from pathlib import Path

import pytest

from recstack.config import BundleSettings, GatewaySettings, RankingSettings, Settings
from recstack.errors import StackError
from recstack.local import restarts
from recstack.local.reporter import LogReporter
from recstack.local.services import SERVICES, environment, with_addresses
from recstack.local.stack_redis import StackRedis


def test_a_child_gets_exactly_the_parents_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSTACK_GATEWAY__MAX_K", "7")  # the child's environment must not win
    settings = Settings(
        home=tmp_path,
        redis_url="redis://127.0.0.1:1234/0",
        bundle=BundleSettings(store="s3://bucket/bundles"),
        ranking=RankingSettings(engine="plain", num_gpus=0.5),
        gateway=GatewaySettings(diversity=0.25),
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_each_service_gets_a_port_of_its_own() -> None:
    ports = iter(range(9001, 9005))
    settings = with_addresses(Settings(), SERVICES, lambda: next(ports))
    addresses = [service.address(settings) for service in SERVICES]
    assert addresses == [f"127.0.0.1:{port}" for port in range(9001, 9005)]


def test_restarts_slow_down_and_then_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(restarts.time, "sleep", pauses.append)
    tracker = restarts.Restarts()
    for _ in range(5):
        tracker.pause("ranking", "ranking was killed by signal 9", LogReporter())
    with pytest.raises(StackError, match="ranking was killed by signal 9, for the 6th time"):
        tracker.pause("ranking", "ranking was killed by signal 9", LogReporter())
    assert pauses == [1, 2, 4, 8, 16]
    tracker.pause("gateway", "gateway stopped", LogReporter())
    assert pauses[-1] == 1


def test_a_cluster_of_redis_is_refused_without_showing_its_password(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url="redis+cluster://me:secret@host:7000")
    with pytest.raises(StackError, match=r"redis\+cluster://host:7000; set it to") as raised:
        StackRedis(settings, tmp_path / "redis", free_port=False).start()
    assert "secret" not in str(raised.value)
