"""The component tls. cert-manager's schemas are not at hand: its kinds are held to what they must agree with here."""

import shutil
from functools import cache
from typing import Any

import pytest

from k8s.validate import Manifest, build_with, pod_templates

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")

SERVICES = ("gateway", "feature-store", "retrieval", "ranking")
FILES = {"CERTIFICATE": "tls.crt", "KEY": "tls.key", "AUTHORITY": "ca.crt"}
"""What cert-manager writes into a Secret."""


@cache
def manifests(ranking: str) -> list[Manifest]:
    ray = ["ranking-ray"] if ranking == "ray" else []
    return build_with(["training", *ray, "network-policy", "load-test", "tls", "bundles-volume"])


def named(kind: str, ranking: str = "plain") -> dict[str, Manifest]:
    """Manifests of a kind, by name."""
    return {m["metadata"]["name"]: m for m in manifests(ranking) if m["kind"] == kind}


def templates(ranking: str = "plain") -> dict[str, Manifest]:
    """Pod templates by name."""
    return {name: template for manifest in manifests(ranking) for name, template in pod_templates(manifest)}


def tls_secret(template: Manifest) -> str | None:
    """Secret that a pod mounts at /tls, readable by its own group."""
    (container,) = template["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    if "/tls" not in mounts:
        return None
    assert mounts["/tls"]["readOnly"]
    (volume,) = (v for v in template["spec"]["volumes"] if v["name"] == mounts["/tls"]["name"])
    assert volume["secret"]["defaultMode"] == 0o440
    return str(volume["secret"]["secretName"])


def test_every_certificate_has_the_names_that_callers_use() -> None:
    """A caller of dns:///gateway.recstack:50051 refuses a certificate without `gateway.recstack`."""
    certificates, services = named("Certificate"), named("Service")
    for service in SERVICES:
        assert service in services
        namespaced = f"{service}.{services[service]['metadata']['namespace']}"
        expected = {service, namespaced, f"{namespaced}.svc", f"{namespaced}.svc.cluster.local"}
        assert set(certificates[service]["spec"]["dnsNames"]) == expected
        assert {"server auth", "client auth"} <= set(certificates[service]["spec"]["usages"])
    assert set(certificates) == {*SERVICES, "train", "load-test", "authority"}


def test_every_certificate_is_issued_by_the_authority_and_renewed_in_time() -> None:
    """The authority outlives what it signs, and each is renewed well before it ends."""
    certificates, issuers = named("Certificate"), named("Issuer")
    authority = certificates.pop("authority")["spec"]
    assert authority["isCA"]
    assert "selfSigned" in issuers[authority["issuerRef"]["name"]]["spec"]
    assert issuers["recstack"]["spec"]["ca"]["secretName"] == authority["secretName"]
    for certificate in certificates.values():
        spec = certificate["spec"]
        assert spec["issuerRef"] == {"kind": "Issuer", "name": "recstack"}
        assert hours(spec["renewBefore"]) >= 24 * 7
        assert hours(spec["duration"]) < hours(authority["renewBefore"])


def hours(text: str) -> int:
    return int(text.removesuffix("h"))


def test_every_pod_that_serves_or_calls_mounts_its_own_secret() -> None:
    """And no other: no two services share a key. Redis, which speaks no TLS, has none."""
    secrets = {name: certificate["spec"]["secretName"] for name, certificate in named("Certificate").items()}
    mounted = {name: secret for name, template in templates().items() if (secret := tls_secret(template))}
    callers = {"first-train": secrets["train"], "train": secrets["train"], "load-test": secrets["load-test"]}
    assert mounted == {service: secrets[service] for service in SERVICES} | callers


def settings(ranking: str = "plain") -> dict[str, str]:
    """The generated settings."""
    (found,) = (m["data"] for m in manifests(ranking) if m["kind"] == "ConfigMap" and "REDIS_URL" in m["data"])
    return dict(found)


def test_settings_name_the_files_and_every_pod_that_mounts_them_reads_the_settings() -> None:
    """A pod without the settings would speak without TLS, one without the files would not start."""
    for name, file in FILES.items():
        assert settings()[f"RECSTACK_TLS__{name}"] == f"/tls/{file}"
    for name, template in templates().items():
        sources = template["spec"]["containers"][0].get("envFrom", [])
        reads_settings = any(source["configMapRef"]["name"].startswith("settings") for source in sources)
        assert reads_settings == (tls_secret(template) is not None), name


def test_probes_ask_the_port_without_tls() -> None:
    """Kubernetes' own gRPC probes know no TLS; the port is neither the service's nor open to others."""
    port = int(settings()["RECSTACK_TLS__HEALTH_PORT"])
    for service in SERVICES:
        (container,) = templates()[service]["spec"]["containers"]
        probes: list[Any] = [container[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")]
        assert {probe["port"] for probe in probes} == {port}
        assert port in {entry["containerPort"] for entry in container["ports"]}
    for policy in named("NetworkPolicy").values():
        rules = [rule for side in ("ingress", "egress") for rule in policy["spec"].get(side, [])]
        assert port not in {entry["port"] for rule in rules for entry in rule.get("ports", [])}


def test_ranking_on_ray_stays_without_tls_and_says_so() -> None:
    """Serve's gRPC proxy speaks none: the gateway must know, and the replicas must have leave to start."""
    assert settings("ray")["RECSTACK_RANKING__PLAINTEXT"] == "true"
    assert "RECSTACK_RANKING__PLAINTEXT" not in settings()
    assert not any(tls_secret(template) for name, template in templates("ray").items() if name.startswith("ranking"))
    services = named("Service", "ray")
    assert services["gateway"]["spec"]["ports"][0]["appProtocol"] == "https"
    assert "appProtocol" not in services["ranking"]["spec"]["ports"][0]
