"""The benchmark of the Ray path, without Ray: every server gets its turns at each number of callers."""

import io
import socket

import pytest
from rich.console import Console

from recstack.api.ranking.v1 import ranking_pb2
from recstack.config import Settings
from services.ranking.serve_app import build_application
from tests.bench import ray_serve
from tests.bench.noop_server import noop_server
from tests.bench.ray_noop import SCORES, NoopReplica
from tests.bench.ray_serve import measure, noop_hop, rank_request


def test_each_server_is_measured_at_each_number_of_callers() -> None:
    """Three servers that do the same differ by chance only, so that nothing is claimed here but that all were asked."""
    with noop_server([noop_hop()]) as one, noop_server([noop_hop()]) as two:
        servers = {
            "ours": (one.port, one.pid),
            "Serve defaults": (two.port, two.pid),
            "plain grpc.aio": (two.port, two.pid),
        }
        report = measure(Console(file=io.StringIO()), servers, {1: 5, 2: 6}, rounds=1)

    assert [line.what for line in report.comparisons] == ["1 at a time"] * 2 + ["2 at a time"] * 2
    assert [line.goal for line in report.comparisons] == [5.0, None] * 2
    for what in ("1 at a time", "2 at a time"):
        assert set(report.details[what]["requests_per_second"]) == set(servers)
        assert min(report.details[what]["requests_per_second"].values()) > 0


async def test_the_replica_answers_in_the_form_of_the_real_one() -> None:
    """Ours is deployed exactly as the ranking service is, only the replica differs."""
    application = build_application(Settings(), NoopReplica)
    assert application is not None
    reply = await NoopReplica({}).Rank(rank_request())
    assert reply == ranking_pb2.RankResponse(scores=[0.5] * SCORES)


def test_a_server_that_ends_before_it_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a Ray that could not start."""
    monkeypatch.setattr(ray_serve, "ATTEMPT_SECONDS", 0.1)
    # What such a process does first is to ask whether the port is free.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(ray_serve, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(ChildProcessError):
            ray_serve.ray_server("defaults").__enter__()
