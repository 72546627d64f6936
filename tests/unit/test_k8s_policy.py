"""What every workload of the Kubernetes manifests promises: no privileges, no surprises, only the drawn arrows."""

import shutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from k8s.validate import COMPONENTS, HERE, Manifest, build, build_with, overlays, pod_templates
from recstack.config import RankingSettings, Settings
from recstack.rpc.channel import OPTIONS
from services.ranking.ray_environment import serving_environment
from tests.load.arguments import parser

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl to build the manifests")

BUILDS = [f"overlays/{name}" for name in overlays()] + ["everything on a volume", "everything in an object store"]
LOOKED_UP_AGAIN_MS = dict(OPTIONS)["grpc.dns_min_time_between_resolutions_ms"]
LONG_RUNNING = ("Deployment", "StatefulSet", "RayService")


@cache
def manifests(name: str) -> list[Manifest]:
    """One of BUILDS."""
    if name.startswith("overlays/"):
        return build(HERE / name)
    left_out = "bundles-object-store" if "volume" in name else "bundles-volume"
    return build_with([component for component in COMPONENTS if component != left_out])


def pods(name: str) -> Iterator[tuple[str, str, Manifest]]:
    """Kind of workload, name and template of every pod in a build."""
    for manifest in manifests(name):
        for pod, template in pod_templates(manifest):
            yield manifest["kind"], pod, template


def find(name: str, kind: str) -> dict[str, Manifest]:
    """Manifests of one kind in a build, by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests(name) if manifest["kind"] == kind}


@pytest.mark.parametrize("name", BUILDS)
def test_every_pod_is_restricted(name: str) -> None:
    """Not root, nothing to gain, a file system that cannot be written; a token for Ray's autoscaler alone."""
    autoscaled = [m for m in find(name, "RayService").values() if "autoscalerOptions" in m["spec"]["rayClusterConfig"]]
    for _, pod, template in pods(name):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"], pod
        assert security["runAsUser"] > 0, pod
        assert security["seccompProfile"]["type"] == "RuntimeDefault", pod
        assert spec["enableServiceLinks"] is False, pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), pod
        assert spec["automountServiceAccountToken"] is (pod == "ranking-head" and bool(autoscaled)), pod
        assert all("hostPath" not in volume for volume in spec["volumes"]), pod
        for container in spec["containers"] + spec.get("initContainers", []):
            limits = container["securityContext"]
            assert limits["allowPrivilegeEscalation"] is False, pod
            assert limits["readOnlyRootFilesystem"] is True, pod
            assert limits["capabilities"] == {"drop": ["ALL"]}, pod


@pytest.mark.parametrize("name", BUILDS)
def test_every_container_says_what_it_needs(name: str) -> None:
    """CPU is requested and not limited (throttling costs latency); memory is both."""
    for _, pod, template in pods(name):
        for container in template["spec"]["containers"]:
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), pod
            assert "memory" in resources["limits"], pod
            assert "cpu" not in resources["limits"], pod
            assert container["imagePullPolicy"] == "IfNotPresent", pod
            assert container["image"].startswith("recstack/"), pod


@pytest.mark.parametrize("name", BUILDS)
def test_what_runs_for_long_is_probed_and_spread_and_kept(name: str) -> None:
    """Three probes each; readiness is not what liveness asks; a disruption budget; time enough to drain."""
    budgets = [budget["spec"]["selector"]["matchLabels"] for budget in find(name, "PodDisruptionBudget").values()]
    for kind, pod, template in pods(name):
        if kind not in LONG_RUNNING:
            continue
        (container,) = template["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), pod
        if "grpc" in container["livenessProbe"]:
            assert container["livenessProbe"]["grpc"]["service"] == "live", pod
            assert "service" not in container["readinessProbe"]["grpc"], pod
        labels = template["metadata"]["labels"]
        assert any(budget.items() <= labels.items() for budget in budgets), pod
        if kind == "Deployment":
            assert template["spec"]["topologySpreadConstraints"], pod
            assert template["spec"]["terminationGracePeriodSeconds"] > 2 * Settings().drain_seconds, pod
            assert find(name, kind)[pod]["spec"]["minReadySeconds"] > 30 + LOOKED_UP_AGAIN_MS / 1000, pod


@pytest.mark.parametrize("name", BUILDS)
def test_services_are_headless_and_find_their_pods(name: str) -> None:
    """Callers need all addresses for round robin; a selector that matches no pod would be an empty Service."""
    templates = [template["metadata"]["labels"] for _, _, template in pods(name)]
    for service, manifest in find(name, "Service").items():
        assert manifest["spec"]["clusterIP"] == "None", service
        selector = manifest["spec"]["selector"]
        assert any(selector.items() <= labels.items() for labels in templates), service


@pytest.mark.parametrize("name", BUILDS)
def test_nothing_refers_to_what_is_not_there(name: str) -> None:
    """Claims, settings, accounts and scaled workloads exist; a Secret that a person makes is marked optional."""
    claims, maps = {*find(name, "PersistentVolumeClaim"), *_made_claims(name)}, find(name, "ConfigMap")
    secrets, accounts, deployments = find(name, "Secret"), find(name, "ServiceAccount"), find(name, "Deployment")
    for _, pod, template in pods(name):
        spec = template["spec"]
        for volume in spec["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert claim is None or claim in claims, f"{pod}: {claim}"
        mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounts - {"data"} <= {volume["name"] for volume in spec["volumes"]}, pod
        assert spec.get("serviceAccountName", next(iter(accounts))) in accounts, pod
        for source in spec["containers"][0].get("envFrom", []):
            secret = source.get("secretRef")
            assert not secret or secret.get("optional") or secret["name"] in secrets, f"{pod}: {secret}"
            assert "configMapRef" not in source or source["configMapRef"]["name"] in maps, f"{pod}: {source}"
    for scaler in find(name, "HorizontalPodAutoscaler").values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments


@pytest.mark.parametrize("name", ["overlays/laptop-ray", "overlays/gpu"])
def test_a_ray_cluster_fits_what_kuberay_and_ray_expect(name: str) -> None:
    """KubeRay makes Services from the head's ports; a worker has time for its calls and for Ray's own drain (30 s)."""
    (service,) = find(name, "RayService").values()
    head, worker = (template["spec"] for _, template in pod_templates(service))
    ports = {port["name"]: port["containerPort"] for port in head["containers"][0]["ports"]}
    assert ports["serve-grpc"] == 50054
    assert {"serve", "dashboard", "gcs-server"} <= ports.keys()
    command = worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert worker["terminationGracePeriodSeconds"] > float(command[-1]) + 30 + Settings().drain_seconds
    for container in (head["containers"][0], worker["containers"][0]):
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        assert serving_environment(RankingSettings()).items() <= variables.items()
    assert service["spec"]["rayClusterDeletionDelaySeconds"] > 30


def test_gpus_change_how_many_replicas_serve_and_nothing_else_of_serves_config() -> None:
    """KubeRay takes the config as text, which a patch can only replace as a whole."""
    (cpu,), (gpu,) = (find(f"overlays/{name}", "RayService").values() for name in ("laptop-ray", "gpu"))
    plain, scaled = (yaml.safe_load(service["spec"]["serveConfigV2"]) for service in (cpu, gpu))
    (deployment,) = scaled["applications"][0].pop("deployments")
    assert plain == scaled
    assert deployment["autoscaling_config"]["max_replicas"] == 8
    assert "num_gpus" not in str(deployment)
    (settings,) = (m["data"] for key, m in find("overlays/gpu", "ConfigMap").items() if key.startswith("settings"))
    assert settings["RECSTACK_RANKING__NUM_GPUS"] == "1"


@pytest.mark.parametrize("name", ["overlays/laptop", "overlays/laptop-ray"])
def test_a_small_node_has_room_for_an_upgrade(name: str) -> None:
    """Of two cores Kubernetes' own pods ask for up to one; what an upgrade starts anew has a second pod for a while."""
    total = 0
    for kind, pod, template in pods(name):
        (millicores,) = (
            int(c["resources"]["requests"]["cpu"].removesuffix("m")) for c in template["spec"]["containers"]
        )
        if pod == "ranking-worker":
            millicores = max(millicores, 200)  # what KubeRay's init container asks for
        total += {"CronJob": 0, "Deployment": 2, "RayService": 2}.get(kind, 1) * millicores
    assert total < 1000


def _made_claims(name: str) -> Iterator[str]:
    """Claims that StatefulSets make for their first pod."""
    for stateful, manifest in find(name, "StatefulSet").items():
        for template in manifest["spec"].get("volumeClaimTemplates", []):
            yield f"{template['metadata']['name']}-{stateful}-0"


def test_every_variable_in_the_settings_is_one() -> None:
    """A misspelt RECSTACK_… variable would be ignored in silence by the shell, so it must be refused here."""
    for name in BUILDS:
        for settings in find(name, "ConfigMap").values():
            for variable in settings["data"]:
                path = variable.removeprefix("RECSTACK_").lower().split("__")
                known: Any = Settings.model_fields
                for part in path if variable.startswith("RECSTACK_") else ():
                    assert part in known, variable
                    known = getattr(known[part].annotation, "model_fields", {})


def test_cron_pods_are_as_hardened_as_others() -> None:
    """The two patches differ only in where the template lies."""
    folder = HERE / "components" / "hardened"
    pod = yaml.safe_load((folder / "pods.yaml").read_text())["spec"]["template"]["spec"]
    cron = yaml.safe_load((folder / "cron-pods.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod == cron


ARROWS = {
    ("gateway", "feature-store", 50052),
    ("gateway", "retrieval", 50053),
    ("gateway", "ranking", 50054),
    ("feature-store", "redis", 6379),
    ("train", "feature-store", 50052),
    ("backup", "redis", 6379),
}
"""Those of docs/architecture.md, and the two jobs."""


def test_only_the_drawn_arrows_are_open() -> None:
    """Between the pods of the namespace, a connection is possible where the egress of one side and the ingress of the
    other allow it. Both must, and nothing else may be."""
    name = "plain ranking"
    chosen = ["training", "network-policy", "backup", "bundles-volume"]
    built = build_with(chosen)
    labels = {t["metadata"]["labels"]["app.kubernetes.io/name"]: t for m in built for _, t in pod_templates(m)}
    policies = [manifest["spec"] for manifest in built if manifest["kind"] == "NetworkPolicy"]
    ports = {port for _, _, port in ARROWS} | {50051, 443, 8265}
    open_arrows = {
        (source, target, port)
        for source, sender in labels.items()
        for target, receiver in labels.items()
        for port in ports
        if _allows(policies, "Egress", sender, receiver, port) and _allows(policies, "Ingress", receiver, sender, port)
    }
    assert open_arrows == ARROWS, name


def test_traces_may_go_to_the_collector_and_only_there() -> None:
    """One more rule for each service, nothing else; and no policy at all where there were none."""
    chosen = ["training", "network-policy", "backup", "bundles-volume"]
    before, after = (_policies([*chosen, *more]) for more in ([], ["tracing"]))
    collector = {
        "to": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}, "podSelector": {}}
        ],
        "ports": [{"protocol": "TCP", "port": 4317}],
    }
    assert before.keys() == after.keys()
    for name, policy in after.items():
        if name in ("gateway", "feature-store", "retrieval", "ranking"):
            assert policy.pop("egress") == [*before[name].pop("egress", []), collector]
            assert {*policy.pop("policyTypes")} == {"Ingress", "Egress"}
            before[name].pop("policyTypes")
        assert policy == before[name]
    assert not _policies(["tracing", "bundles-volume"])


def _policies(components: list[str]) -> dict[str, Manifest]:
    """Specs of the network policies of a build, by name."""
    built = build_with(components)
    return {m["metadata"]["name"]: m["spec"] for m in built if m["kind"] == "NetworkPolicy"}


def _allows(policies: list[Manifest], direction: str, pod: Manifest, peer: Manifest, port: int) -> bool:
    """Whether `pod` may have a connection with `peer` in one direction. Without a policy that selects it, it may."""
    side, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    chosen = [
        policy for policy in policies if _selects(policy["podSelector"], pod) and direction in policy["policyTypes"]
    ]
    rules = [rule for policy in chosen for rule in policy.get(side, [])]
    return not chosen or any(
        (peers not in rule or any("podSelector" in e and _selects(e["podSelector"], peer) for e in rule[peers]))
        and ("ports" not in rule or any(entry["port"] == port for entry in rule["ports"]))
        for rule in rules
    )


def _selects(selector: Manifest, pod: Manifest) -> bool:
    labels = pod["metadata"]["labels"]
    exact = selector.get("matchLabels", {})
    among = selector.get("matchExpressions", [])
    assert all(entry["operator"] == "In" for entry in among)
    return exact.items() <= labels.items() and all(labels.get(entry["key"]) in entry["values"] for entry in among)


def test_the_load_test_is_asked_for_in_words_that_it_knows() -> None:
    """A flag that is gone would be a Job that fails at once."""
    (container,) = (t["spec"]["containers"][0] for _, pod, t in pods(BUILDS[-1]) if pod == "load-test")
    assert container["command"] == ["python", "-m", "tests.load", "knee"]
    asked = parser().parse_args(["knee", *container["args"]])
    assert asked.target == "dns:///gateway:50051"
    assert str(asked.out) in {mount["mountPath"] for mount in container["volumeMounts"]}
