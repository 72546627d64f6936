"""The ranking service through Ray Serve, started as people start it: HAProxy, replica, contract, clean end.

Ray takes seconds to start, so all tests share one; the last one stops it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.bundle import BundleStore
from recstack.rpc.channel import sync_channel
from recstack.rpc.request_id import HEADER
from recstack.rpc.server import LIVE
from tests.helpers.collector import Collector, running_collector
from tests.helpers.ranking_bundles import offline_scores, publish_bundle, rank_request

ROOT = Path(__file__).parents[2]
SERVICE_NAME = "recstack.api.ranking.v1.RankingService"
START_SECONDS = 120.0
STOP_SECONDS = 60.0
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Stack:
    """A running `python -m services.ranking`, a channel to it, and the bundle that it serves."""

    process: subprocess.Popen[bytes]
    channel: grpc.Channel
    store: BundleStore
    version: str
    log: Path
    collector: Collector

    @property
    def ranking(self) -> ranking_pb2_grpc.RankingServiceStub:
        return ranking_pb2_grpc.RankingServiceStub(self.channel)

    @property
    def health(self) -> health_pb2_grpc.HealthStub:
        return health_pb2_grpc.HealthStub(self.channel)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("ray")
    store = BundleStore(str(folder / "home" / "bundles"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "HOME": str(folder / "user"),
        "RECSTACK_HOME": str(folder / "home"),
        "RECSTACK_BUNDLE__POLL_SECONDS": "0.1",
        "RECSTACK_DRAIN_SECONDS": "10",  # a bound: what has drained does not wait
        "RECSTACK_RANKING__ENGINE": "ray",
        "RECSTACK_RANKING__ADDRESS": address,
        "RECSTACK_RANKING__MAX_CANDIDATES": "50",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",  # so that spans come only if a replica sends them before it ends
    }
    log = folder / "log"
    with running_collector() as collector, log.open("wb") as output:
        environment["RECSTACK_TRACING__ENDPOINT"] = collector.endpoint
        command = [sys.executable, "-m", "services.ranking"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            with sync_channel(address) as channel:
                waiting = Stack(process, channel, store, "", log, collector)
                wait_until_serving(waiting, LIVE)
                with pytest.raises(grpc.RpcError, match="no bundle is active"):
                    waiting.ranking.Rank(rank_request(), metadata=((HEADER, "too-early"),))
                running = replace(waiting, version=publish_bundle(store, folder / "work"))
                wait_until_serving(running)
                yield running
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a stack that a failed test left behind."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        for member in [process, *family]:
            member.kill()
        process.wait()


def wait_until_serving(stack: Stack, service: str = "") -> None:
    """Ask for health, as a Kubernetes probe does, until it is SERVING."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and stack.process.poll() is None:
        try:
            answer = stack.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=2, wait_for_ready=True)
        except grpc.RpcError:
            continue
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return
    pytest.fail(f"Ray Serve did not start: {stack.log.read_text()}")


def test_what_a_replica_logs_gets_out_with_the_id_of_the_request(stack: Stack) -> None:
    """Serve takes stderr from replicas, and Ray brings what they write to the service's own a moment later."""
    told = f"[too-early]: /{SERVICE_NAME}/Rank ends with FAILED_PRECONDITION: no bundle is active"
    deadline = time.monotonic() + START_SECONDS
    while told not in stack.log.read_text():
        assert time.monotonic() < deadline, stack.log.read_text()
        time.sleep(0.1)


def test_health_answers_for_the_service_and_names_unknown_ones(stack: Stack) -> None:
    answer = stack.health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError, match="no service 'other' here") as raised:
        stack.health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_rank_returns_the_offline_scores_also_in_batches(stack: Stack) -> None:
    requests = [rank_request(items=5 + seed, steps=seed % 25, seed=seed) for seed in range(40)]
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(stack.ranking.Rank, requests))
    for request, answer in zip(requests, answers, strict=True):
        expected = offline_scores(stack.store, stack.version, request)
        np.testing.assert_allclose(answer.scores, expected, atol=1e-5)
        assert answer.bundle_version == stack.version
    assert max(answer.batch_size for answer in answers) > 1


def test_attribute_agrees_with_rank(stack: Stack) -> None:
    request = rank_request(items=4, steps=6)
    ask = ranking_pb2.AttributeRequest(profile=request.profile, history=request.history, item_ids=request.item_ids)
    explained = stack.ranking.Attribute(ask)
    np.testing.assert_allclose(explained.scores, stack.ranking.Rank(request).scores, atol=1e-5)
    assert len(explained.influences) == 4 * 6
    assert any(explained.influences)


def test_get_info_crosses_the_bridge(stack: Stack) -> None:
    info = stack.ranking.GetInfo(ranking_pb2.GetInfoRequest()).info
    assert info.service == "recstack.ranking"
    assert info.bundle.version == stack.version
    assert info.limits["max_candidates"] == 50


@pytest.mark.parametrize(
    ("item_ids", "message"),
    [
        ([], "item_ids has 0 entries; it must have between 1 and 50"),
        ([3, -6], "item_ids[1] is -6; item ids are positive catalogue ids"),
        (range(1, 52), "item_ids has 51 entries; it must have between 1 and 50"),
    ],
)
def test_a_bad_request_gets_its_own_code_and_message_and_no_stack_trace(
    stack: Stack, item_ids: list[int], message: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stack.ranking.Rank(ranking_pb2.RankRequest(item_ids=item_ids))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == message


def test_reflection_lists_the_service(stack: Stack) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(stack.channel)
    ask = reflection_pb2.ServerReflectionRequest
    listed, file = reflection.ServerReflectionInfo(
        iter([ask(list_services=""), ask(file_containing_symbol=SERVICE_NAME)])
    )
    assert SERVICE_NAME in {service.name for service in listed.list_services_response.service}
    described = FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert [service.name for service in described.service] == ["RankingService"]


def test_a_bundle_is_swapped_inside_the_replica_without_a_failed_request(stack: Stack, tmp_path: Path) -> None:
    seen: set[str] = set()
    swapped = threading.Event()

    def call_until_swapped(_: int) -> None:
        while not swapped.is_set():
            seen.add(stack.ranking.Rank(rank_request()).bundle_version)

    with ThreadPoolExecutor(4) as callers:
        calls = callers.map(call_until_swapped, range(4))
        try:
            newer = publish_bundle(stack.store, tmp_path / "newer", seed=1)
            deadline = time.monotonic() + START_SECONDS
            while stack.ranking.Rank(rank_request()).bundle_version != newer:
                assert time.monotonic() < deadline, f"{newer} is not served"
        finally:
            swapped.set()
        list(calls)
    assert seen <= {stack.version, newer}
    assert stack.version in seen


def test_replica_and_proxy_run_at_normal_priority(stack: Stack) -> None:
    """Ray's default would let every other service of the machine go first."""
    names = ("ServeReplica", "ProxyActor", "haproxy")
    family = psutil.Process(stack.process.pid).children(recursive=True)
    serving = [member for member in family if any(name in " ".join(member.cmdline()) for name in names)]
    assert len(serving) >= len(names)
    assert {member.nice() for member in serving} == {0}


def test_sigterm_leaves_no_process_and_no_folder_and_no_span_unsent(stack: Stack) -> None:
    family = psutil.Process(stack.process.pid).children(recursive=True)
    commands = [" ".join(member.cmdline()) for member in family]
    assert any("haproxy" in command for command in commands)
    folders = {match for command in commands for match in re.findall(r"(/\S+/recstack-ray-[^/\s]+)", command)}
    assert len(folders) == 1
    assert Path(folders.copy().pop()).is_dir()

    stack.ranking.Rank(rank_request(items=7), metadata=(("traceparent", f"00-{TRACE}-{SPAN}-01"), (HEADER, "of-one")))
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(STOP_SECONDS) == 0
    _, alive = psutil.wait_procs(family, timeout=0)
    assert not alive
    assert not Path(folders.pop()).exists()
    assert not (stack.log.parent / "user").exists()  # the home folder

    # What the replica had still to tell about its calls has been sent.
    (span,) = stack.collector.trace(TRACE)
    assert (span.service, span.name, span.parent) == ("recstack.ranking", f"{SERVICE_NAME}/Rank", SPAN)
    assert span.attributes["rpc.response.status_code"] == "OK"
    assert span.attributes["recstack.request_id"] == "of-one"
    assert span.attributes["recstack.candidates"] == 7
    assert span.attributes["recstack.queue_ms"] >= 0
