"""The environment of a local Ray Serve: private ports, short paths, and addresses that are checked first."""

import socket
import tempfile
from pathlib import Path

import pytest

from recstack.config import RankingSettings
from recstack.errors import StackError
from services.ranking.ray_environment import ray_environment, split_address, temporary_path

UNIX_PATH_BYTES = 107
NODE_ID_LENGTH = 56


def test_every_port_is_its_own_and_the_ranges_fit_a_rolling_update() -> None:
    replicas = 3
    environment = ray_environment(RankingSettings(replicas=replicas), Path("/tmp/x"))
    ports = {name: int(value) for name, value in environment.items() if name.endswith("_PORT")}
    ranges = [
        range(ports[f"RAY_SERVE_DIRECT_INGRESS_MIN_{kind}_PORT"], ports[f"RAY_SERVE_DIRECT_INGRESS_MAX_{kind}_PORT"])
        for kind in ("HTTP", "GRPC")
    ]
    single = [port for name, port in ports.items() if "DIRECT_INGRESS" not in name]
    every = [*single, *ranges[0], *ranges[1]]
    assert len(single) == 4
    assert len(set(every)) == len(every)
    assert all(len(ingress) >= 2 * replicas for ingress in ranges)


def test_unix_sockets_fit_below_the_temporary_path() -> None:
    folder = temporary_path()
    starting = f"{folder}/h/{'n' * NODE_ID_LENGTH}/a.1234567.tmp"
    session = f"{folder}/session_2026-11-22_04-00-00_123456_1234567/sockets/plasma_store"
    assert max(len(starting), len(session)) <= UNIX_PATH_BYTES
    assert ray_environment(RankingSettings(), folder)["RAY_SERVE_HAPROXY_SOCKET_PATH"] == f"{folder}/h/a"
    assert temporary_path() != folder


def test_a_long_temporary_folder_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a-folder-with-a-long-name"))
    assert temporary_path().parent == Path("/tmp")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]"])
def test_an_address_is_split_and_port_zero_becomes_a_real_one(host: str) -> None:
    assert split_address(f"{host}:0")[0] == host.strip("[]")
    assert split_address(f"{host}:0")[1] > 0


def test_a_taken_port_and_a_senseless_address_are_errors_that_say_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StackError, match=f"cannot listen on {address}.*choose another address"):
            split_address(address)
    for wrong in ("127.0.0.1:port", "no.such.host.invalid:1"):
        with pytest.raises(StackError, match="cannot listen on"):
            split_address(wrong)
