"""Build every overlay and every combination of two components, and check what comes out against the API's schemas.

    python k8s/validate.py [--crds FOLDER]

Core kinds are checked strictly against the schemas that the package kubernetes-validate brings, so no cluster and no
network is needed. Custom resources are checked against the CustomResourceDefinitions (YAML files of their projects:
KubeRay, prometheus-operator, KEDA) in FOLDER, or in that which RECSTACK_CRDS names; without one they are built and
skipped with a word. Pod templates inside a RayService are checked as pods, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
KUBERNETES_VERSION = "1.32.0"
COMPONENTS = [
    "training",
    "autoscaling",
    "autoscaling-keda",
    "ranking-ray",
    "ranking-ray-gpu",
    "network-policy",
    "monitoring",
    "tracing",
    "load-test",
    "backup",
    "redis-external",
    "tls",
    "bundles-volume",
    "bundles-object-store",
    "small-node",
]
"""In the order in which overlays list them: later ones change what earlier ones add."""

Manifest = dict[str, Any]


def overlays() -> list[str]:
    """Names of the overlays."""
    return sorted(path.parent.name for path in HERE.glob("overlays/*/kustomization.yaml"))


def build(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder. Raises RuntimeError with its words when it fails."""
    result = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip())
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


def build_with(components: Sequence[str]) -> list[Manifest]:
    """Base with some components, by an overlay that is made for the purpose and removed."""
    with tempfile.TemporaryDirectory(prefix="recstack-k8s-") as name:
        folder = Path(name).resolve()
        relative = Path(os.path.relpath(HERE, folder))
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "recstack",
            "resources": [str(relative / "base")],
            "components": [str(relative / "components" / component) for component in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return build(folder)


def pod_templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Name and template of each kind of pod that a manifest makes."""
    name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
    if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
        yield name, spec["template"]
    elif manifest["kind"] == "CronJob":
        yield name, spec["jobTemplate"]["spec"]["template"]
    elif manifest["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        yield f"{name}-head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield f"{name}-{group['groupName']}", group["template"]


class Schemas:
    """Validators of core kinds, and of the custom kinds whose definitions are at hand."""

    def __init__(self, crds: Path | None) -> None:
        self._custom: dict[tuple[str, str], jsonschema.Draft202012Validator] = {}
        for path in sorted(crds.glob("*.yaml")) if crds else ():
            for definition in yaml.safe_load_all(path.read_text()):
                if definition and definition["kind"] == "CustomResourceDefinition":
                    self._add(definition["spec"])

    def _add(self, spec: Mapping[str, Any]) -> None:
        for version in spec["versions"]:
            schema = _json_schema(version["schema"]["openAPIV3Schema"])
            kind = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            self._custom[kind] = jsonschema.Draft202012Validator(schema)

    def errors(self, manifest: Manifest) -> list[str] | None:
        """What is wrong with a manifest; None when no schema of its kind is at hand."""
        kind = (manifest["apiVersion"], manifest["kind"])
        if kind in self._custom:
            found = self._custom[kind].iter_errors(manifest)
            return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
        try:
            kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            return None
        except kubernetes_validate.ValidationError as error:
            return [f"{'/'.join(map(str, error.path))}: {error.message}"]
        return []


def _json_schema(schema: Any) -> Any:
    """An OpenAPI schema of a CRD as a strict JSON schema: fields that it does not name are refused."""
    if isinstance(schema, list):
        return [_json_schema(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    converted = {key: _json_schema(value) for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    has_fields = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if has_fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        converted.setdefault("additionalProperties", False)
    if converted.pop("nullable", False) and isinstance(converted.get("type"), str):
        converted["type"] = [converted["type"], "null"]
    return converted


def check(manifests: Sequence[Manifest], schemas: Schemas) -> tuple[list[str], set[str]]:
    """Errors in some manifests, and the kinds that could not be checked."""
    errors, skipped = [], set()
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        found = schemas.errors(manifest)
        if found is None:
            skipped.add(manifest["kind"])
        errors += [f"{name}: {error}" for error in found or ()]
        for pod, template in pod_templates(manifest) if manifest["kind"] == "RayService" else ():
            as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": template["spec"]}
            errors += [f"{name}, pod {pod}: {error}" for error in schemas.errors(as_pod) or ()]
    return errors, skipped


def main() -> int:
    """Command line; exit status 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description="Build all manifests and check them against the API's schemas.")
    parser.add_argument("--crds", type=Path, default=os.environ.get("RECSTACK_CRDS"), help="folder of CRDs (YAML)")
    schemas = Schemas(parser.parse_args().crds)
    builds = {f"overlays/{name}": (lambda name=name: build(HERE / "overlays" / name)) for name in overlays()}
    for count in range(3):
        for chosen in combinations(COMPONENTS, count):
            builds[" + ".join(["base", *chosen])] = lambda chosen=chosen: build_with(chosen)
    builds[" + ".join(["base", *COMPONENTS])] = lambda: build_with(COMPONENTS)
    failed, skipped = 0, set()
    for name, make in builds.items():
        try:
            manifests = make()
        except RuntimeError as error:
            print(f"{name}: does not build: {error}")
            failed += 1
            continue
        errors, unknown = check(manifests, schemas)
        skipped |= unknown
        failed += bool(errors)
        print(f"{name}: {len(manifests)} resources, {f'{len(errors)} errors' if errors else 'valid'}")
        for error in errors:
            print(f"  {error}")
    if skipped:
        print(f"Not checked, for want of their CRDs (--crds FOLDER): {', '.join(sorted(skipped))}")
    print(f"{len(builds) - failed} of {len(builds)} combinations are valid.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
