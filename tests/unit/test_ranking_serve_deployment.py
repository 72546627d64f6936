"""The Serve deployment without a running Ray: its options, the settings that travel, and what callers see of errors."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from recstack.config import BundleSettings, RankingSettings, Settings, TlsSettings
from recstack.errors import OverloadedError, RecStackError, StackError
from recstack.rpc.request_id import HEADER
from services.ranking.serve_app import _answered, build, build_application


class RecordingContext:
    """Keeps what is set on it, as Serve's context does."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.details: str | None = None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(HEADER, "of-one")]

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (OverloadedError("9 requests are waiting"), grpc.StatusCode.RESOURCE_EXHAUSTED, "9 requests are waiting"),
        (RecStackError("told on purpose"), grpc.StatusCode.INTERNAL, "told on purpose"),
        (
            ValueError("a secret"),
            grpc.StatusCode.INTERNAL,
            "internal error in /ranking/Rank; see the server's log for request of-one",
        ),
        (asyncio.CancelledError(), None, None),
    ],
)
def test_callers_see_the_status_of_an_error_and_no_internals(
    error: BaseException, code: grpc.StatusCode | None, details: str | None
) -> None:
    context: Any = RecordingContext()
    with pytest.raises(type(error)), _answered(context, "/ranking/Rank"):
        raise error
    assert (context.code, context.details) == (code, details)


def test_serve_lets_through_what_the_queues_of_the_service_hold() -> None:
    ranking = RankingSettings(replicas=2, num_gpus=0.5, num_cpus=0.25, max_queued=100, max_batch_requests=8)
    deployment = build_application(Settings(ranking=ranking))._bound_deployment
    assert deployment.num_replicas == 2
    assert deployment.ray_actor_options["num_gpus"] == 0.5
    assert deployment.ray_actor_options["num_cpus"] == 0.25
    assert deployment.max_ongoing_requests > 2 * 100 + 8
    assert deployment.max_queued_requests == 100


@pytest.mark.parametrize(
    ("store", "expected"),
    [("", "cache/bundles"), ("my-bundles", "my-bundles"), ("s3://bucket/bundles", "s3://bucket/bundles")],
)
def test_settings_survive_the_way_to_a_replica_with_another_working_directory(
    store: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=Path("cache"), bundle=BundleSettings(store=store), ranking=RankingSettings(max_queued=7))
    (sent,) = build_application(settings)._bound_deployment.init_args
    monkeypatch.chdir("/")
    received = Settings(**sent)
    assert received.home == tmp_path / "cache"
    assert received.bundle_store == (expected if "://" in expected else str(tmp_path / expected))
    assert received.ranking.max_queued == 7


def test_the_builder_takes_settings_from_the_environment_only() -> None:
    with pytest.raises(StackError, match="RECSTACK_"):
        build({"replicas": "2"})


def test_tls_is_refused_where_it_would_not_be_had() -> None:
    """Serve's gRPC proxy speaks none: serving without it in silence would be the worst answer."""
    tls = TlsSettings(certificate="tls.crt", key="tls.key")
    with pytest.raises(StackError, match=r"Ray Serve's gRPC proxy speaks no TLS: set ranking\.plaintext"):
        build_application(Settings(tls=tls))
    assert build_application(Settings(tls=tls, ranking=RankingSettings(plaintext=True)))
