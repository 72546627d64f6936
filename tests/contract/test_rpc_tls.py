"""TLS between services: real servers and channels, with certificates that the test issues."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.api.features.v1 import features_pb2
from recstack.config import FeatureStoreSettings, RankingSettings, Settings, TlsSettings
from recstack.errors import StackError, UnavailableError
from recstack.ports import free_port
from recstack.rpc.channel import aio_channel, sync_channel
from recstack.rpc.credentials import Tls, connection_problem
from recstack.rpc.probe import probe
from recstack.rpc.renewed_channel import RenewedChannel
from recstack.rpc.server import LIVE, RunningServer, start_server
from services.gateway.clients import Backends
from services.gateway.pipeline.deadline import Deadline

SERVING = "SERVING"


class Files:
    """Certificates of one authority, as files."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.folder = folder
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))
        self.issue("server", "127.0.0.1")
        self.issue("caller", "caller.example")

    def issue(self, name: str, host: str) -> None:
        """Write NAME.pem and NAME.key anew, for a host."""
        issued = self._authority.issue_cert(host)
        (self.folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))

    def settings(self, name: str = "server", **more: Any) -> TlsSettings:
        """Settings of a server that shows a certificate."""
        paths = {"certificate": str(self.folder / f"{name}.pem"), "key": str(self.folder / f"{name}.key")}
        return TlsSettings(authority=str(self.authority), **(paths | more))

    def caller(self, name: str = "") -> Tls:
        """What a caller needs, with a certificate of its own if named."""
        if not name:
            return Tls(authority=self.authority)
        return Tls(authority=self.authority, certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def serving(tls: TlsSettings) -> AsyncIterator[RunningServer]:
    running = await start_server("127.0.0.1:0", [], tls=tls)
    try:
        yield running
    finally:
        await running.stop(0)


async def ask(channel: grpc.aio.Channel) -> str:
    """SERVING, or what went wrong in our words (gRPC's own where we have none)."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    try:
        reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        return connection_problem(error.details() or "") or f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


async def asked(address: str, tls: Tls | None = None) -> str:
    async with aio_channel(address, tls) as channel:
        return await ask(channel)


WRONG_NAME = "its certificate is not for this name"
NOT_TRUSTED = "its certificate is not of tls.authority, or is out of date"
NO_TLS = "it does not speak TLS"
CLOSED = "it closed the connection; does it speak TLS, or ask for a certificate?"


async def test_with_a_certificate_a_server_speaks_tls_alone(files: Files, tmp_path: Path) -> None:
    """Whoever trusts its authority is answered, by both kinds of channel. Everybody else is told what is wrong."""
    (tmp_path / "other").mkdir()
    stranger = Files(tmp_path / "other")
    async with serving(files.settings()) as server:
        address = f"127.0.0.1:{server.port}"
        assert await asked(address, files.caller()) == SERVING
        assert await asyncio.to_thread(probe, address, tls=files.caller()) == SERVING
        assert await asked(address) == CLOSED
        assert await asked(address, stranger.caller()) == NOT_TRUSTED
    async with serving(TlsSettings()) as server:
        assert await asked(f"127.0.0.1:{server.port}", files.caller()) == NO_TLS
    files.issue("server", "another.example")
    async with serving(files.settings()) as server:
        assert await asked(f"127.0.0.1:{server.port}", files.caller()) == WRONG_NAME


async def test_the_gateway_says_what_is_wrong_with_a_backend(files: Files) -> None:
    """In words for people, where gRPC has none; and it calls ranking without TLS where that is asked for."""
    async with serving(TlsSettings()) as server:
        address = f"127.0.0.1:{server.port}"
        settings = Settings(
            tls=TlsSettings(authority=str(files.authority)),
            feature_store=FeatureStoreSettings(address=address),
            ranking=RankingSettings(address=address, plaintext=True),
        )
        backends = Backends.connect(settings)
        try:
            request = features_pb2.GetInfoRequest()
            with pytest.raises(UnavailableError, match=rf"feature store at {address} is unavailable \({NO_TLS}\)"):
                await backends.features.call(backends.features.stub.GetInfo, request, Deadline.after(10))
            assert await ask(backends.ranking.channel) == SERVING
        finally:
            await backends.aclose()


async def test_with_mutual_tls_a_caller_needs_a_certificate_of_the_same_authority(files: Files, tmp_path: Path) -> None:
    """Without one, and with one of another authority, the connection is closed."""
    (tmp_path / "other").mkdir()
    stranger = Files(tmp_path / "other").caller("caller")
    strange = Tls(authority=files.authority, certificate=stranger.certificate, key=stranger.key)
    async with serving(files.settings(mutual=True)) as server:
        address = f"127.0.0.1:{server.port}"
        assert await asked(address, files.caller("caller")) == SERVING
        assert await asked(address, files.caller()) == CLOSED
        assert await asked(address, strange) == CLOSED


async def test_probes_without_tls_have_a_port_with_nothing_but_health(files: Files) -> None:
    """Kubernetes' probes speak no TLS. The port tells what the server tells, and serves nothing else."""
    port = free_port()
    async with serving(files.settings(mutual=True, health_port=port)) as server:
        address = f"127.0.0.1:{port}"
        assert await asyncio.to_thread(probe, address, LIVE) == SERVING
        await server.set_serving(False)
        assert await asyncio.to_thread(probe, address) == "NOT_SERVING"
        async with aio_channel(address) as channel:
            reflect = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await reflect(b"")
        assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_new_connections_get_a_renewed_certificate(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Files that do not fit together, as in the middle of a copy, change nothing; whole ones count at once."""

    def shown(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    caplog.set_level(logging.INFO, "recstack.rpc")
    async with serving(files.settings()) as server:
        first = await asyncio.to_thread(shown, server.port)
        key = (files.folder / "server.key").read_bytes()
        files.issue("server", "127.0.0.1")
        renewed_key = (files.folder / "server.key").read_bytes()
        (files.folder / "server.key").write_bytes(key)
        assert await asyncio.to_thread(shown, server.port) == first
        assert "do not make a pair" in caplog.text
        (files.folder / "server.key").write_bytes(renewed_key)
        second = await asyncio.to_thread(shown, server.port)
        assert second != first
        assert second in (files.folder / "server.pem").read_text()
        assert await asked(f"127.0.0.1:{server.port}", files.caller()) == SERVING


async def test_a_channel_that_is_closed_ends_the_calls_of_the_one_before(files: Files, tmp_path: Path) -> None:
    """They may finish when certificates change, and not outlive the channel: nothing could be shut down else."""
    (tmp_path / "next").mkdir()
    following = Files(tmp_path / "next")
    async with serving(files.settings()) as server:
        make = partial(grpc.aio.secure_channel, f"127.0.0.1:{server.port}")
        async with RenewedChannel(files.caller(), make, check_seconds=0) as channel:
            watch: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            before = channel.current
            (files.folder / "ca.pem").write_bytes((following.folder / "ca.pem").read_bytes())
            assert channel.current is not before
            await asyncio.sleep(0)  # the one before begins to close
            assert not watch.done()
        assert await watch.code() is grpc.StatusCode.CANCELLED


async def test_a_channel_goes_on_with_renewed_certificates(files: Files, tmp_path: Path) -> None:
    """A caller that runs for long must not be stopped by the end of its first certificate, nor of its authority."""
    (tmp_path / "next").mkdir()
    following = Files(tmp_path / "next")
    now = [0.0]
    async with serving(files.settings(mutual=True)) as first, serving(following.settings(mutual=True)) as second:
        ports = iter([first.port, second.port])
        channel = RenewedChannel(
            files.caller("caller"),
            lambda credentials: grpc.aio.secure_channel(f"127.0.0.1:{next(ports)}", credentials),
            check_seconds=60,
            clock=lambda: now[0],
        )
        async with channel:
            health: Any = health_pb2_grpc.HealthStub(channel)

            async def check() -> str:
                before = channel.current
                reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                assert reply.status == health_pb2.HealthCheckResponse.SERVING
                return "the same" if channel.current is before else "another"

            assert await check() == "the same"
            opened = channel.current
            for name in ("ca.pem", "caller.pem", "caller.key"):
                (files.folder / name).write_bytes((following.folder / name).read_bytes())
            now[0] = 59.0
            assert channel.current is opened  # files are not read on every call
            now[0] = 60.0
            await check()  # the second server trusts none but the new authority
            assert channel.current is not opened
            opened = channel.current
            (files.folder / "caller.key").unlink()
            now[0] = 120.0
            await check()
            assert channel.current is opened


def spoil(name: str, content: bytes | None) -> Callable[[Path], None]:
    """A change to one file: other content, or gone."""

    def change(folder: Path) -> None:
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("server.pem", None), r"cannot read .*server.pem, which the tls settings name: No such file"),
        (spoil("server.key", b"not a key"), r"server.pem and tls.key .*server.key do not make a pair"),
        (spoil("ca.pem", b""), r"tls.authority .*ca.pem has no PEM certificate"),
    ],
)
async def test_files_that_cannot_be_used_are_named_at_the_start(
    files: Files, change: Callable[[Path], None], words: str
) -> None:
    """For servers and for both kinds of channel."""
    change(files.folder)
    with pytest.raises(StackError, match=words):
        async with serving(files.settings(mutual=True)):
            pass
    for open_channel in (aio_channel, sync_channel):
        with pytest.raises(StackError, match=words):
            open_channel("127.0.0.1:1", files.caller("server"))


def test_settings_that_belong_together_are_asked_for_together() -> None:
    """Half a pair would be a server without TLS that its operator believes to have it."""
    with pytest.raises(ValueError, match=r"tls.certificate and tls.key belong together"):
        TlsSettings(certificate="server.pem")
    with pytest.raises(ValueError, match=r"tls.mutual needs"):
        TlsSettings(authority="ca.pem", mutual=True)
