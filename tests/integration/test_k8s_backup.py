"""Backup and restore of Redis: the scripts of the manifests' own jobs, on a real Redis and real files."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
import yaml

from k8s.validate import HERE
from recstack.ports import free_port
from tests.integration.test_local_stack import wait_until

TOOLS = ("redis-server", "redis-cli", "redis-check-rdb")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


class Volume:
    """A data folder with a Redis on it that may run or not, and a folder for backups."""

    def __init__(self, folder: Path) -> None:
        self.data, self.backups = folder / "data", folder / "backups"
        self.data.mkdir()
        self.backups.mkdir()
        self.port, self._restore_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "redis.Redis":
        """Redis with the arguments of the StatefulSet."""
        stateful = next(
            m for m in yaml.safe_load_all((HERE / "base/redis.yaml").read_text()) if m["kind"] == "StatefulSet"
        )
        arguments = stateful["spec"]["template"]["spec"]["containers"][0]["args"]
        arguments = [str(self.data) if argument == "/data" else argument for argument in arguments]
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), *arguments], stdout=subprocess.DEVNULL
        )
        client = redis.Redis(port=self.port)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:  # not listening yet, or still loading
                return False

        wait_until(answers)
        return client

    def stop(self) -> None:
        """As Kubernetes stops it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def run(self, job: str) -> "subprocess.CompletedProcess[str]":
        """The script of a CronJob, with addresses and mounts of this machine."""
        jobs = yaml.safe_load_all((HERE / "components/backup/backup.yaml").read_text())
        spec = next(m["spec"] for m in jobs if m["kind"] == "CronJob" and m["metadata"]["name"] == job)
        shell, flags, script = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
        for inside, outside in (
            ("-h redis", f"-h 127.0.0.1 -p {self.port}"),
            ("6390", str(self._restore_port)),
            ("/backups", str(self.backups)),
            ("/data", str(self.data)),
        ):
            script = script.replace(inside, outside)
        return subprocess.run([shell, flags, script], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path)
    yield made
    made.stop()


def test_what_was_backed_up_comes_back(volume: Volume) -> None:
    """Also after Redis lost everything; writes after the restore are kept through a restart as ever."""
    client = volume.start()
    client.set("user:1", b"\x00history\xff")
    backup = volume.run("backup")
    assert backup.returncode == 0, backup.stderr
    client.set("user:1", b"overwritten by mistake")
    refused = volume.run("restore")
    assert refused.returncode == 1
    assert "scale it to nothing first" in refused.stderr
    assert client.get("user:1") == b"overwritten by mistake"
    volume.stop()

    restored = volume.run("restore")
    assert restored.returncode == 0, restored.stderr
    assert "1 keys" in restored.stdout
    client = volume.start()
    assert client.get("user:1") == b"\x00history\xff"
    client.set("user:2", b"later")
    volume.stop()
    assert volume.start().mget("user:1", "user:2") == [b"\x00history\xff", b"later"]


def test_other_pods_can_connect(volume: Volume) -> None:
    """By an address that is not loopback's: Redis refuses those in protected mode."""
    addresses = [address.address for of_card in psutil.net_if_addrs().values() for address in of_card]
    outside = [address for address in addresses if "." in address and not address.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but loopback")
    volume.start()
    assert redis.Redis(host=outside[0], port=volume.port).ping()


def test_seven_backups_are_kept(volume: Volume) -> None:
    """The oldest go; a partial file never has a backup's name."""
    volume.start()
    for day in range(1, 9):
        (volume.backups / f"redis-2026010{day}-000000.rdb").write_text("old")
    assert volume.run("backup").returncode == 0
    kept = sorted(path.name for path in volume.backups.iterdir())
    assert len(kept) == 7
    assert all(name.startswith("redis-") for name in kept)
