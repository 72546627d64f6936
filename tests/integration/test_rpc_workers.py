"""Services in several processes: they share the load of one port, drain together, and fail together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.ports import free_port

PROCESSES = 2
CONNECTIONS = 24
"""Each comes to either worker by chance; that all come to one has a chance of 1 in 8 million."""


@contextmanager
def feature_store(port: int, redis_url: str = "redis://127.0.0.1:1/0") -> Iterator[subprocess.Popen[str]]:
    """The feature store in two workers. It serves without a Redis: reads fail, GetInfo answers."""
    with subprocess.Popen(
        [sys.executable, "-m", "services.feature_store"],
        env={
            **os.environ,
            "REDIS_URL": redis_url,
            "RECSTACK_FEATURE_STORE__ADDRESS": f"127.0.0.1:{port}",
            "RECSTACK_FEATURE_STORE__PROCESSES": str(PROCESSES),
            "RECSTACK_FEATURE_STORE__REDIS_TIMEOUT_MS": "1500",
        },
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def listening(process: subprocess.Popen[str], port: int) -> list[psutil.Process]:
    """Workers that accept connections at the port."""
    return [
        worker
        for worker in psutil.Process(process.pid).children()
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in worker.net_connections("tcp"))
    ]


def own_connection(port: int) -> grpc.Channel:
    """A channel that shares its connection with no other channel of this process."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def test_connections_are_spread_over_the_workers() -> None:
    port = free_port()
    with feature_store(port) as process:
        wait_until(lambda: len(listening(process, port)) == PROCESSES)
        channels = [own_connection(port) for _ in range(CONNECTIONS)]
        for channel in channels:
            features_pb2_grpc.FeatureStoreServiceStub(channel).GetInfo(features_pb2.GetInfoRequest(), timeout=20)
        served = [
            sum(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in worker.net_connections("tcp"))
            for worker in listening(process, port)
        ]
        for channel in channels:
            channel.close()
        process.terminate()
        _, errors = process.communicate(timeout=30)

    assert sum(served) == CONNECTIONS
    assert min(served) > 0
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


class StuckRedis:
    """Answers greetings and PING, and never a read; `reading` is set once one has come."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        while received := connection.recv(1 << 16):
            if b"MGET" in received:
                self.reading.set()
                threading.Event().wait()
            connection.sendall(b"+OK\r\n" * received.count(b"SETINFO") + b"+PONG\r\n" * received.count(b"PING"))


def test_sigterm_lets_calls_in_flight_finish() -> None:
    """The call waits for Redis until that times out: it must end with our own words for it, not with a torn line."""
    port, redis = free_port(), StuckRedis()
    with feature_store(port, redis.url) as process, own_connection(port) as channel:
        wait_until(lambda: len(listening(process, port)) == PROCESSES)
        wait_until(lambda: all(map(_catches_sigterm, listening(process, port))))
        stub = features_pb2_grpc.FeatureStoreServiceStub(channel)
        call = stub.GetUser.future(features_pb2.GetUserRequest(user_id=1), timeout=20)
        assert redis.reading.wait(20)
        process.terminate()
        with pytest.raises(grpc.RpcError) as failure:
            call.result()
        process.communicate(timeout=30)

    assert "did not answer in time" in failure.value.details()
    assert process.returncode == 0


def test_a_worker_that_dies_ends_the_service_with_an_error() -> None:
    port = free_port()
    with feature_store(port) as process:
        wait_until(lambda: len(listening(process, port)) == PROCESSES)
        first, second = listening(process, port)
        os.kill(first.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "killed by signal 9" in errors.splitlines()[-1]
    assert not second.is_running()


def test_a_port_that_a_stranger_shares_is_still_taken() -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with feature_store(stranger.getsockname()[1]) as process:
            _, errors = process.communicate(timeout=30)

    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: cannot listen on 127.0.0.1")


def test_workers_end_with_the_process_that_looks_after_them() -> None:
    port = free_port()
    with feature_store(port) as process:
        wait_until(lambda: len(listening(process, port)) == PROCESSES)
        workers = listening(process, port)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(worker.is_running() for worker in workers), seconds=30)


def _catches_sigterm(worker: psutil.Process) -> bool:
    """Whether a handler is installed: before, the signal would end the process on the spot."""
    caught = int(Path(f"/proc/{worker.pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)
