"""The feature store over TLS to a Redis that speaks nothing else, with an authority of one's own."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import redis
import trustme
from feature_store_kit import CLICK, history_of, item_chunk, load, running_store, write_request

from recstack.lifeline import tied_to_parent
from recstack.ports import free_port
from recstack.redis_server import HOST, find_redis_binary


@pytest.fixture
def redis_over_tls(tmp_path: Path) -> Iterator[str]:
    """URL of a Redis that takes TLS connections only, without the query that names its authority."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "redis.pem"))
    port = free_port()
    options = {"port": 0, "tls-port": port, "bind": HOST, "tls-auth-clients": "no", "dir": tmp_path, "save": ""}
    options |= {"tls-cert-file": tmp_path / "redis.pem", "tls-key-file": tmp_path / "redis.pem"}
    options |= {"tls-ca-cert-file": tmp_path / "ca.pem"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen(tied_to_parent([str(find_redis_binary()), *words]), stdout=log, stderr=log)
    try:
        _wait_until_it_answers(process, f"rediss://{HOST}:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}", tmp_path)
        yield f"rediss://{HOST}:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", url: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if process.poll() is not None:
            pytest.skip(f"this Redis speaks no TLS: {(folder / 'redis.log').read_text()}")
        try:
            with redis.Redis.from_url(url) as client:
                client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


async def test_events_are_written_and_read_over_tls(redis_over_tls: str, tmp_path: Path) -> None:
    """With the authority named in the URL; one that is not trusted is not talked to."""
    async with running_store(f"{redis_over_tls}?ssl_ca_certs={tmp_path / 'ca.pem'}") as store:
        await load(store, item_chunk([1]))
        await store.stub.WriteEvents(write_request(1, ("a", CLICK, 1, 10, 0.0)))
        assert [at for _, at, _ in await history_of(store, 1)] == [10]
    async with running_store(redis_over_tls) as store:
        with pytest.raises(grpc.aio.AioRpcError, match="cannot reach Redis") as refusal:
            await history_of(store, 1)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
