"""`python -m services.feature_store` as users and Kubernetes see it: exit codes and words."""

import os
import signal
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.ports import free_port


def start(redis_url: str, address: str, **settings: str) -> subprocess.Popen[str]:
    """The service in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.feature_store"],
        env={
            **os.environ,
            **settings,
            "PYTHONPATH": "shared:.",
            "REDIS_URL": redis_url,
            "RECSTACK_FEATURE_STORE__ADDRESS": address,
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_drains_and_exits_cleanly(redis_url):
    address = f"127.0.0.1:{free_port()}"
    with start(redis_url, address) as process, grpc.insecure_channel(address) as channel:
        try:
            health = health_pb2_grpc.HealthStub(channel)
            # The service may still be starting: wait for the connection, then for its first PING.
            for reply in health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60):
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    break
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"RECSTACK_FEATURE_STORE__DURABILITY": "fsync"}, "durability is 'fsync', but Redis at 127.0.0.1"),
        ({}, "cannot listen on"),
    ],
    ids=["durability that Redis does not promise", "taken port"],
)
def test_what_prevents_the_start_is_said_in_one_line(redis_url, redis_server, settings, message):
    taken = f"127.0.0.1:{redis_server.port}"
    with start(redis_url, taken, **settings) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in errors
