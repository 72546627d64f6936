"""The rules that keep the layout easy to see: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").is_file())


def imports(path: Path) -> set[str]:
    """Full names of everything a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_shared_imports_no_service() -> None:
    offenders = {p for p in sources("shared/recstack") if any(n.split(".")[0] == "services" for n in imports(p))}
    assert not offenders


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    for path in sources(f"services/{service}"):
        for name in imports(path):
            first, _, rest = name.partition(".")
            assert first != "services" or rest.split(".")[0] == service, f"{path} imports {name}"


def test_ray_is_imported_in_one_file_of_each_service_that_needs_it() -> None:
    importers = {p.relative_to(ROOT).as_posix() for p in sources("shared", "services") if imports_ray(p)}
    assert importers <= {"services/ranking/serve_app.py", "services/trainer/fit/distributed.py"}


def test_training_in_one_process_does_not_load_ray() -> None:
    command = "import sys, services.trainer.fit; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, timeout=120).returncode == 0


def imports_ray(path: Path) -> bool:
    return any(name.split(".")[0] == "ray" for name in imports(path))


def test_no_source_file_is_longer_than_400_lines() -> None:
    generated = ROOT / "shared/recstack/api"
    long = [p for p in sources("shared", "services", "tests") if generated not in p.parents and lines(p) > 400]
    assert not long


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())
