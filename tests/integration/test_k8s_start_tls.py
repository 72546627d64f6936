"""A service started from the manifests of the component tls with a Secret's files: probed, called, closed to others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from k8s.validate import build_with, pod_templates
from recstack.api.features.v1 import features_pb2
from recstack.api.features.v1.features_pb2_grpc import FeatureStoreServiceStub
from recstack.ports import free_port
from recstack.redis_server import RedisServer
from recstack.rpc.channel import sync_channel
from recstack.rpc.credentials import Tls
from recstack.rpc.probe import probe
from tests.integration.test_local_stack import wait_until

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")

SERVICE = "feature-store"


class Secrets:
    """What cert-manager would write for the Certificates of a build, with the address of this machine in each."""

    def __init__(self, folder: Path, names: dict[str, list[str]]) -> None:
        self._folder = folder
        authority = trustme.CA()
        for secret, dns_names in names.items():
            issued = authority.issue_cert(*dns_names, "127.0.0.1")
            (folder / secret).mkdir()
            authority.cert_pem.write_to_path(str(folder / secret / "ca.crt"))
            issued.private_key_pem.write_to_path(str(folder / secret / "tls.key"))
            issued.cert_chain_pems[0].write_to_path(str(folder / secret / "tls.crt"))

    def path(self, secret: str) -> Path:
        """Folder of a Secret's files."""
        return self._folder / secret

    def tls(self, secret: str) -> Tls:
        """How the holder of a Secret calls others."""
        folder = self.path(secret)
        return Tls(authority=folder / "ca.crt", certificate=folder / "tls.crt", key=folder / "tls.key")


@pytest.fixture
def ports() -> dict[str, int]:
    """Ports of this machine in place of the container's: the service's and that of health."""
    return {"50052": free_port(), "50055": free_port()}


@pytest.fixture
def secrets(tmp_path: Path, redis_server: RedisServer, ports: dict[str, int]) -> Iterator[Secrets]:
    """Of the running service."""
    manifests = build_with(["training", "tls", "bundles-volume"])
    names = {m["spec"]["secretName"]: m["spec"].get("dnsNames", []) for m in manifests if m["kind"] == "Certificate"}
    issued = Secrets(tmp_path, {secret: dns for secret, dns in names.items() if dns})
    template = next(t for m in manifests for name, t in pod_templates(m) if name == SERVICE)
    (container,) = template["spec"]["containers"]
    mounted = next(v["secret"]["secretName"] for v in template["spec"]["volumes"] if v["name"] == "tls")
    variables = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    (settings,) = (data for name, data in variables.items() if name.startswith("settings"))
    settings = settings | {entry["name"]: entry["value"] for entry in container["env"]}
    here = {"/var/recstack": str(tmp_path), "/tls/": f"{issued.path(mounted)}/", "0.0.0.0": "127.0.0.1"} | ports
    for inside, outside in here.items():
        settings = {name: value.replace(inside, str(outside)) for name, value in settings.items()}
    environment = settings | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REDIS_URL": redis_server.url,
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(container["command"], env=environment, stdout=log, stderr=log, cwd=tmp_path)
    yield issued
    process.terminate()
    assert process.wait(30) == 0, (tmp_path / "log").read_text()


def test_a_service_under_tls_is_ready_by_its_probe_and_answers_its_callers_alone(
    secrets: Secrets, ports: dict[str, int]
) -> None:
    """Kubernetes asks without TLS; the trainer's certificate opens the service; no certificate does not."""
    wait_until(lambda: probe(f"127.0.0.1:{ports['50055']}") == "SERVING", 60)
    address = f"127.0.0.1:{ports['50052']}"
    with sync_channel(address, secrets.tls("train-tls")) as channel:
        info = FeatureStoreServiceStub(channel).GetInfo(features_pb2.GetInfoRequest(), timeout=30).info
    assert info.service == "recstack.feature_store"
    for stranger in (None, Tls(authority=secrets.path("train-tls") / "ca.crt")):
        with sync_channel(address, stranger) as channel, pytest.raises(grpc.RpcError) as refusal:
            FeatureStoreServiceStub(channel).GetInfo(features_pb2.GetInfoRequest(), timeout=30)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
