"""A Redis master, its replica and a Sentinel that watches them, as real processes."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from recstack.lifeline import tied_to_parent
from recstack.ports import free_port
from recstack.redis_server import HOST, RedisServer, find_redis_binary

SERVICE = "recstack"
PASSWORD = "p@ss:word"
_DEADLINE_SECONDS = 60.0

_CONFIGURATION = f"""
sentinel monitor {SERVICE} {HOST} {{port}} 1
sentinel auth-pass {SERVICE} {PASSWORD}
sentinel down-after-milliseconds {SERVICE} 500
sentinel failover-timeout {SERVICE} 1000
"""


@dataclass(frozen=True)
class Watched:
    """Two servers by port, and the URL under which Sentinel knows the master."""

    servers: dict[int, RedisServer]
    sentinel_port: int

    @property
    def url(self) -> str:
        """For REDIS_URL, with a Sentinel in front that does not answer."""
        return f"redis+sentinel://:p%40ss%3Aword@{HOST}:1,{HOST}:{self.sentinel_port}/{SERVICE}/3"

    def master(self) -> int:
        """Port of the master, as Sentinel says."""
        with redis.Redis(HOST, self.sentinel_port, decode_responses=True) as sentinel:
            return int(sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def ask(self, port: int, *command: Any) -> Any:
        """A command to one of the servers."""
        with redis.Redis(HOST, port, password=PASSWORD) as server:
            return server.execute_command(*command)

    def fail_over(self) -> None:
        """Make the replica master while the master lives, as for maintenance; returns when Sentinel says so."""
        before = self.master()
        with redis.Redis(HOST, self.sentinel_port) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
        wait_until(lambda: self.master() != before)

    def kill(self, port: int) -> None:
        """End a server without a word."""
        pid = self.servers[port].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.servers[port].stop()

    def replicated(self) -> bool:
        """Whether the replica has everything, and is one that Sentinel may choose."""
        with redis.Redis(HOST, self.sentinel_port) as sentinel:
            known = sentinel.sentinel_slaves(SERVICE)
        alive = [replica for replica in known if not (replica["is_sdown"] or replica["is_disconnected"])]
        return bool(alive) and self.ask(self.master(), "WAIT", 1, 100) == 1


def wait_until(condition: Any) -> None:
    """Poll until `condition()` holds; AssertionError after a minute."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def watched_redis(folder: Path) -> Iterator[Watched]:
    """Start all three; gone afterwards."""
    with ExitStack() as running:
        servers = {}
        for name in ("one", "two"):
            server = running.enter_context(RedisServer(folder / name))
            servers[server.port] = server
            with redis.Redis.from_url(server.url) as client:
                client.config_set("repl-diskless-sync-delay", 0)
                client.config_set("masterauth", PASSWORD)
                client.config_set("requirepass", PASSWORD)
        watched = Watched(servers, free_port())
        master, replica = servers
        watched.ask(replica, "REPLICAOF", HOST, master)
        wait_until(lambda: watched.ask(master, "WAIT", 1, 100) == 1)  # then Sentinel's first look finds the replica
        configuration = folder / "sentinel.conf"
        configuration.write_text(_CONFIGURATION.format(port=master))
        command = [str(find_redis_binary()), str(configuration), "--sentinel", "--bind", HOST]
        command += ["--port", str(watched.sentinel_port), "--dir", str(folder)]
        with (folder / "sentinel.log").open("wb") as log:
            process = subprocess.Popen(tied_to_parent(command), stdout=log, stderr=log)
        running.callback(process.wait)
        running.callback(process.terminate)
        wait_until(lambda: _answers(watched))
        wait_until(watched.replicated)
        yield watched


def _answers(watched: Watched) -> bool:
    try:
        return watched.master() in watched.servers
    except redis.ConnectionError:
        return False
