"""The supervisor with stand-in services: start, failures, restart, and that nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from recstack.config import GatewaySettings, Settings
from recstack.errors import BundleError, StackError
from recstack.local import LocalStack, StateFile, down, start_detached
from recstack.local.processes import is_alive
from recstack.rpc.probe import is_serving
from tests.helpers.standins import Standins, activate_hollow_bundle


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    activate_hollow_bundle(settings)
    return settings


@pytest.fixture
def standins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standins:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    return Standins(tmp_path)


class Silent:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def progress(self, done: int, total: int) -> None:
        raise AssertionError("stand-ins load no features")


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_everything_starts_and_everything_stops(settings: Settings, standins: Standins) -> None:
    services = standins.healthy("retrieval"), standins.healthy("gateway")
    with LocalStack(settings, free_ports=True, services=services) as stack:
        state = StateFile(settings.home).running()
        assert state == stack.state
        assert [process.name for process in state.processes] == ["redis", "retrieval", "gateway"]
        assert state.address("gateway") == stack.settings.gateway.address != settings.gateway.address
        assert is_serving(state.address("gateway"))
        assert all(is_alive(process.pid) for process in state.processes)
        assert "hello from gateway" in state.processes[-1].log.read_text()
        assert state.scratch.is_dir()
    assert not any(is_alive(process.pid) for process in state.processes)
    assert not state.scratch.exists()
    assert StateFile(settings.home).read() is None


def test_a_service_that_dies_shows_its_own_log(settings: Settings, standins: Standins) -> None:
    stack = LocalStack(settings, free_ports=True, services=(standins.healthy("retrieval"), standins.dying("gateway")))
    with pytest.raises(StackError) as raised:
        stack.start()
    message = str(raised.value)
    assert message.startswith("gateway stopped with exit status 1 before it was healthy")
    assert str(settings.home / "logs" / "gateway.log") in message
    assert "the disk is made of cheese" in message
    assert "hello from retrieval" not in message
    assert StateFile(settings.home).read() is None
    assert not [child for child in psutil.Process().children() if "standin" in " ".join(child.cmdline())]


def test_a_service_that_never_gets_healthy_is_given_up(settings: Settings, standins: Standins) -> None:
    stack = LocalStack(settings, free_ports=True, services=(standins.never_healthy("gateway"),))
    with pytest.raises(StackError, match=r"gateway is not healthy at 127\.0\.0\.1:\d+ after 3 s"):
        stack.start()


def test_a_taken_port_names_service_port_and_owner(tmp_path: Path, standins: Standins) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(home=tmp_path / "home", gateway=GatewaySettings(address=f"127.0.0.1:{port}"))
        activate_hollow_bundle(settings)
        stack = LocalStack(settings, services=(standins.healthy("gateway"),))
        with pytest.raises(StackError) as raised:
            stack.start()
    for part in ("gateway", str(port), f"process {os.getpid()}", "--free-ports", "RECSTACK_GATEWAY__ADDRESS"):
        assert part in str(raised.value)


def test_a_second_stack_in_the_same_home_is_refused(settings: Settings, standins: Standins) -> None:
    services = (standins.healthy("gateway"),)
    with (
        LocalStack(settings, free_ports=True, services=services) as stack,
        pytest.raises(StackError, match="already up: gateway at") as raised,
    ):
        LocalStack(settings, free_ports=True, services=services).start()
    assert stack.settings.gateway.address in str(raised.value)


def test_without_a_bundle_it_says_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    monkeypatch.setenv("RECSTACK_HOME", str(settings.home))
    with pytest.raises(BundleError, match="recstack train"):
        LocalStack(settings).start()
    with pytest.raises(StackError, match="recstack train"):
        start_detached(settings, "plain", True, Silent())


def test_what_dies_is_started_again(settings: Settings, standins: Standins) -> None:
    reporter = Silent()
    with LocalStack(settings, free_ports=True, services=(standins.healthy("gateway"),), reporter=reporter) as stack:
        redis, gateway = stack.state.processes
        os.kill(gateway.pid, signal.SIGKILL)
        os.kill(redis.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(gateway.pid) and not is_alive(redis.pid))
        stack.restart_dead()
        wait_until(lambda: is_serving(gateway.address))
        state = StateFile(settings.home).read()
        assert state is not None
        assert all(is_alive(process.pid) for process in state.processes)
        assert {process.pid for process in state.processes}.isdisjoint({redis.pid, gateway.pid})
        assert "gateway was killed by signal 9; starting it again in 1 s" in reporter.steps


_SUPERVISOR = """
import sys, time
from recstack.config import Settings
from recstack.local import LocalStack
from recstack.local.services import Service
services = (Service("gateway", "standin_gateway", "gateway"),)
with LocalStack(Settings(home=sys.argv[1]), free_ports=True, services=services):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_killed_supervisor_leaves_nothing(tmp_path: Path, settings: Settings, standins: Standins) -> None:
    orphan_pid_file = tmp_path / "orphan.pid"
    standins.healthy("gateway", orphan_pid_file)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, str(settings.home)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "ready\n"
    state = StateFile(settings.home).running()
    assert state is not None
    orphan = int(orphan_pid_file.read_text())
    supervisor.kill()
    supervisor.communicate()
    wait_until(lambda: not any(is_alive(process.pid) for process in state.processes))
    assert is_alive(orphan)  # it left its parent's session, as Ray's processes do
    assert StateFile(settings.home).running() is None
    assert down(settings)
    assert not is_alive(orphan)
    assert not state.scratch.exists()
    assert StateFile(settings.home).read() is None
    assert not down(settings)


def test_down_stops_a_living_supervisor(settings: Settings, standins: Standins) -> None:
    standins.healthy("gateway")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, str(settings.home)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "ready\n"
    state = StateFile(settings.home).running()
    assert state is not None
    assert down(settings)
    supervisor.communicate()
    assert not any(is_alive(process.pid) for process in state.processes)


def test_a_damaged_bundle_is_named_before_anything_starts(settings: Settings, standins: Standins) -> None:
    next(Path(settings.bundle_store).glob("*/golden.npz")).write_text("damaged")
    stack = LocalStack(settings, free_ports=True, services=(standins.healthy("gateway"),))
    with pytest.raises(BundleError, match=r"corrupt: golden\.npz"):
        stack.start()
    assert not (settings.home / "logs").exists()
