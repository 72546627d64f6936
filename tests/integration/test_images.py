"""The images that were built, as docker/compose.yaml runs them: healthy, without rights, recommending, keeping events.

`make images-test` builds them and runs this; it takes a Docker daemon with compose, and minutes.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recstack import Client, EventType, RecommendationList
from recstack.ports import free_port
from tests.integration.test_local_stack import wait_until

pytestmark = [
    pytest.mark.skipif("IMAGES_TAG" not in os.environ, reason="needs images and a Docker daemon: make images-test"),
    pytest.mark.timeout(1200),
]

COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yaml"
SERVICES = {"redis", "feature-store", "retrieval", "ranking", "gateway"}


class Stack:
    """The compose file as a project of its own."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._name = f"recstack-test-{secrets.token_hex(4)}"
        tag, port = os.environ["IMAGES_TAG"], self.address.rpartition(":")[2]
        self._environment = os.environ | {"TAG": tag, "PORT": port}

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`; its output."""
        command = ["docker", "compose", "--project-name", self._name, "--file", str(COMPOSE), *arguments]
        done = subprocess.run(command, env=self._environment, text=True, stdout=subprocess.PIPE, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
        return done.stdout

    def containers(self) -> dict[str, Any]:
        """What Docker knows about each container, by service."""
        ids = self.compose("ps", "--all", "--quiet").split()
        shown = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in shown}

    @contextmanager
    def running(self) -> Iterator["Stack"]:
        """Up until everything is healthy, and in the end gone with its volumes."""
        try:
            try:
                self.compose("up", "--detach", "--wait", "--quiet-pull")
            except AssertionError:
                print(self.compose("logs", "--tail", "30"))
                raise
            yield self
        finally:
            self.compose("down", "--volumes", "--timeout", "30")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack().running() as running:
        yield running


def recommended(stack: Stack, **request: int) -> RecommendationList:
    with Client(stack.address, timeout=5) as client:
        return client.recommend(user_id=1, **request)


def test_every_container_is_healthy_and_has_no_rights(stack: Stack) -> None:
    containers = stack.containers()
    assert containers.keys() == SERVICES | {"train"}
    for service, container in containers.items():
        host = container["HostConfig"]
        assert container["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert not host["Privileged"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        state = container["State"]
        if service == "train":
            assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        else:
            assert state["Health"]["Status"] == "healthy"
            assert container["RestartCount"] == 0


def test_it_recommends(stack: Stack) -> None:
    answer = recommended(stack, k=10)
    assert len(answer) == 10
    assert not answer.degraded
    assert not answer.cold_start
    assert all(item.title for item in answer)


def test_events_outlive_a_redis_that_is_killed(stack: Stack) -> None:
    seen = recommended(stack, k=1).items[0]
    with Client(stack.address, timeout=5) as client:
        assert client.record_events(1, [seen.event(EventType.RATING, rating=5)]) == (True,)
    stack.compose("kill", "redis")
    stack.compose("up", "--detach", "--wait", "redis")
    wait_until(lambda: not recommended(stack, k=1).degraded, 60)
    assert seen.item_id not in {item.item_id for item in recommended(stack, k=200)}


def test_every_service_ends_by_itself_when_it_is_stopped(stack: Stack) -> None:
    stack.compose("stop", "--timeout", "30")
    ends = {service: container["State"]["ExitCode"] for service, container in stack.containers().items()}
    assert ends == dict.fromkeys(SERVICES | {"train"}, 0)
