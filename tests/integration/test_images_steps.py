"""The Dockerfile's own steps for the small images, run as a script in a clean folder where there is no engine.

`make images-steps` runs this; it takes a package index and a minute. The other images' libraries are installed by the
same script with other extras, which tests/unit/test_images_libraries.py holds to the lock.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif("IMAGES_STEPS" not in os.environ, reason="installs from a package index: make images-steps"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]


def steps(stage: str) -> list[str]:
    """COPY and RUN of one stage, each on one line."""
    text = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    after = text.split(f" AS {stage}\n", 1)[1].split("\nFROM ", 1)[0]
    return [line for line in after.splitlines() if line.startswith(("COPY ", "RUN "))]


class Folder:
    """Stands for an image's root; the working directory is its /src, and a virtual environment its Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "src").mkdir()
        subprocess.run([sys.executable, "-m", "venv", root / "base"], check=True)

    def do(self, step: str) -> None:
        """One step of the Dockerfile, with the image's folders under this one."""
        keyword, _, rest = step.partition(" ")
        if keyword == "COPY":
            *sources, target = rest.split()
            for source in sources:
                self._copy(source, target)
            return
        command = re.sub(r"--mount=\S+", "", rest)
        self.run(["bash", "-ec", re.sub(r"(?<![\w.])/(venv|app|tools)\b", rf"{self.root}/\1", command)])

    def run(self, command: list[str]) -> None:
        """Run a command in /src, with nothing of this environment but what finds the package index."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        path = f"{self.root}/base/bin:/usr/bin:/bin"
        done = subprocess.run(
            command, cwd=self.root / "src", env=kept | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _copy(self, source: str, target: str) -> None:
        place = self.root / "src" / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            return
        place = place / Path(source).name if target.endswith("/") else place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, place)
        if source == "docker/install":
            place.write_text(place.read_text().replace("/venv", f"{self.root}/venv"))


def test_the_steps_of_the_small_images_make_services_that_start(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for stage in ("light", "package"):
        for step in steps(stage):
            folder.do(step)
    python = f"PYTHONPATH={tmp_path}/app {tmp_path}/venv/bin/python"
    for service in ("gateway", "feature_store"):
        folder.run(["bash", "-ec", f"cd /; {python} -c 'import services.{service}.app'"])
    folder.run(["bash", "-ec", f"cd /; {python} {tmp_path}/app/bin/recstack --help"])
    assert not list((tmp_path / "venv" / "bin").glob("pip*"))
