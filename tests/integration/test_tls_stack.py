"""The whole local stack under mutual TLS: every hop of a recommendation is encrypted, and the tools come along."""

import asyncio
from pathlib import Path

import pytest
import trustme
from rich.console import Console

from recstack import Client, Event, EventType, Tls, UnavailableError
from recstack.cli import stack as cli_stack
from recstack.config import TlsSettings
from recstack.local import LocalStack
from recstack.rpc.credentials import tls_to
from tests.bench.world import make_world
from tests.load.gateway import Gateway, Outcome
from tests.load.traffic import SimilarItems


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    """One certificate for everything on this machine."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("authority", "certificate", "key")}
    authority.cert_pem.write_to_path(paths["authority"])
    issued.cert_chain_pems[0].write_to_path(paths["certificate"])
    issued.private_key_pem.write_to_path(paths["key"])
    return TlsSettings(mutual=True, **paths)


async def load_on(address: str, tls: Tls | None) -> Outcome:
    """One request of the load harness."""
    async with Gateway(address, connections=1, k=5, timeout=10.0, tls=tls) as gateway:
        await gateway.connect()
        return await gateway.send(SimilarItems(item_id=1))


def test_a_stack_under_mutual_tls_recommends_and_takes_events(
    tls: TlsSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are loaded, all services are healthy, an answer is whole, and nobody else gets one."""
    settings = make_world(tmp_path / "world", items=200, users=100, history=20)
    settings = settings.model_copy(update={"tls": tls, "home": tmp_path / "home"})
    with LocalStack(settings, ranking="plain", free_ports=True) as stack:
        address = stack.settings.gateway.address
        with stack.client(timeout=10.0) as client:
            answer = client.recommend(user_id=1, k=5)
            assert len(answer) == 5
            assert not answer.degraded
            assert not answer.cold_start
            assert client.record_events(1, [Event(item_id=next(iter(answer)).item_id, type=EventType.CLICK)]) == (True,)
        monkeypatch.setattr(cli_stack, "load_settings", lambda: stack.settings)
        assert cli_stack.print_stack(Console(quiet=True), stack.state), "recstack status finds all healthy"
        assert asyncio.run(load_on(address, tls_to("gateway", stack.settings))).error == ""
        with Client(address, timeout=10.0) as client, pytest.raises(UnavailableError, match="does it speak TLS"):
            client.info()
        with (
            Client(address, timeout=10.0, tls=Tls(authority=tls.authority)) as client,
            pytest.raises(UnavailableError, match="ask for a certificate"),
        ):
            client.info()
