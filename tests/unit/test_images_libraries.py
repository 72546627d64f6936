"""What each image installs, read from the Dockerfile: it is in the lock, and the image's code imports nothing else.

How the images behave is tests/integration/test_images.py.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docker.requirements import requirements

ROOT = Path(__file__).parents[2]
NOT_IN_THE_LOCK = {"triton", "setuptools"}
"""Each CUDA build of torch asks for its own Triton; pip freeze does not show setuptools."""

CODE = {
    "light": ("services.gateway", "services.feature_store", "recstack.rpc"),
    "models-cpu": ("services.retrieval", "recstack.models"),
    "models": ("services.ranking", "recstack.models"),
    "models-ray": ("services.ranking",),
    "models-train": ("services.trainer", "recstack"),
    "light-load": ("tests.load",),
}
"""Packages of which the images of a stage import every module, but for those that need what it leaves out."""
LEFT_OUT = {
    "models-cpu": ("recstack.models.kernels.augru",),
    "models": ("recstack.models.kernels.augru", "services.ranking.serve_app"),
    "models-train": ("recstack.models.kernels.augru", "services.trainer.fit.distributed"),
    "light-load": ("tests.load.local",),
}

IMPORT = """
import importlib, pkgutil, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r} in this image", name=name)

missing, left_out, packages = (set(filter(None, words.split(","))) for words in sys.argv[1:])
sys.meta_path.insert(0, Missing())
for package in packages:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, f"{package}."):
        if module.name not in left_out and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def stages(variant: str = "cpu") -> tuple[dict[str, list[str]], dict[str, str]]:
    """The extras in /venv by stage, and from which stage each image takes its own."""
    extras: dict[str, list[str]] = {}
    images: dict[str, str] = {}
    stage = ""
    for line in (ROOT / "docker" / "Dockerfile").read_text().replace("${VARIANT}", variant).splitlines():
        if started := re.match(r"FROM (\S+) AS (\S+)", line):
            stage = started[2]
            extras[stage] = list(extras.get(started[1], []))
        elif added := re.search(r"docker/install((?: [a-z0-9]+)*)$", line):
            extras[stage] += added[1].split()
        elif copied := re.match(r"COPY --from=(\S+) /venv", line):
            images[stage] = copied[1]
    return extras, images


def installed(wanted: list[str]) -> Iterator[Requirement]:
    """Requirements, those of what they name, and so on."""
    todo = [Requirement(one) for one in wanted]
    known: set[str] = set()
    while todo:
        requirement = todo.pop()
        yield requirement
        for extra in ("", *requirement.extras):
            if (key := f"{canonicalize_name(requirement.name)}[{extra}]") in known:
                continue
            known.add(key)
            needed = [Requirement(one) for one in requires(requirement.name) or []]
            todo += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]


def libraries(extras: list[str]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in installed(requirements(extras))}


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    """Top-level modules, and which distributions have them."""
    # Asked of a process of its own: once imported, Ray adds what it brings along to the path of this one.
    ask = "import json; from importlib.metadata import packages_distributions as p; print(json.dumps(p()))"
    found = json.loads(subprocess.check_output([sys.executable, "-c", ask]))
    return {module: set(map(canonicalize_name, names)) for module, names in found.items()}


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    pinned = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    return {canonicalize_name(name): version for name, version in pinned}


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_what_images_install_is_in_the_lock(variant: str, lock: dict[str, str]) -> None:
    extras, images = stages(variant)
    for stage in set(images.values()):
        for requirement in installed(requirements(extras[stage])):
            if requirement.name not in NOT_IN_THE_LOCK:
                version = lock[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version, prereleases=True), requirement


def test_images_of_models_have_torch_and_read_object_stores_and_only_one_has_ray() -> None:
    extras, images = stages()
    having = {
        name: {image for image, stage in images.items() if name in libraries(extras[stage])}
        for name in ("torch", "s3fs", "ray", "triton", "pandas")
    }
    assert having == {
        "torch": {"retrieval", "ranking", "ranking-ray", "trainer"},
        "s3fs": {"retrieval", "ranking", "ranking-ray", "trainer"},
        "ray": {"ranking-ray"},
        "triton": set(),
        "pandas": set(),
    }
    extras, images = stages("cuda")
    assert {image for image, stage in images.items() if "triton" in libraries(extras[stage])} == {
        "ranking",
        "ranking-ray",
    }


@pytest.mark.parametrize("stage", CODE)
def test_an_image_has_what_its_code_imports(stage: str, modules: dict[str, set[str]]) -> None:
    extras, images = stages()
    assert set(images.values()) == CODE.keys()
    present = libraries(extras[stage]) | {"recstack"}
    missing = [module for module, names in modules.items() if present.isdisjoint(names)]
    words = [missing, LEFT_OUT.get(stage, ()), CODE[stage]]
    command = [sys.executable, "-c", IMPORT, *map(",".join, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
