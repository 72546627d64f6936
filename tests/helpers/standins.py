"""Tiny stand-in services for tests of the local stack: real processes with a real gRPC health service."""

from pathlib import Path

from recstack.bundle import BundleStore
from recstack.config import Settings
from recstack.local.services import Service
from tests.helpers.bundles import write_hollow_bundle

_HEALTHY = """
import asyncio, sys
from recstack.config import load_settings
from recstack.rpc.server import start_server, run_until_signal

async def serve():
    settings = load_settings()
    running = await start_server(settings.{section}.address, [], serving={serving})
    await run_until_signal(running, 1.0)

print("hello from {section}", flush=True)
asyncio.run(serve())
"""
_DIES = """
import sys
print("first line")
sys.exit("cannot go on: the disk is made of cheese")
"""
_LEAVES_AN_ORPHAN = """
import pathlib, subprocess, sys
orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path({pid_file!r}).write_text(str(orphan.pid))
"""


class Standins:
    """Writes modules into `folder`, which must be on the PYTHONPATH of the stack's processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def healthy(self, section: str, orphan_pid_file: Path | None = None) -> Service:
        """Serves. With `orphan_pid_file` it first starts a process that outlives it."""
        before = _LEAVES_AN_ORPHAN.format(pid_file=str(orphan_pid_file)) if orphan_pid_file else ""
        return self._write(section, before + _HEALTHY.format(section=section, serving=True), 60.0)

    def never_healthy(self, section: str) -> Service:
        """Listens, but its health stays NOT_SERVING."""
        return self._write(section, _HEALTHY.format(section=section, serving=False), 3.0)

    def dying(self, section: str) -> Service:
        """Ends at once with an error."""
        return self._write(section, _DIES, 60.0)

    def _write(self, section: str, source: str, startup_seconds: float) -> Service:
        module = f"standin_{section}"
        (self._folder / f"{module}.py").write_text(source)
        return Service(section, module, section, startup_seconds)


def activate_hollow_bundle(settings: Settings) -> str:
    """Publish and activate a bundle that verifies but holds no models, which stand-ins do not open; its version."""
    store, folder = BundleStore(settings.bundle_store), settings.home / "hollow"
    write_hollow_bundle(folder)
    version = store.publish(folder, dataset="hollow", models={}, rankers={"dien": 1.0}, metrics={}).version
    return store.activate(version).version
