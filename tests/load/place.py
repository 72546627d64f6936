"""Where the load goes: a gateway that is there already, or a local stack that is started for the run."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recstack import Client
from recstack.bundle import BundleStore
from recstack.config import BundleSettings, Settings, load_settings
from recstack.errors import RecStackError
from recstack.local import LocalStack
from tests.bench.world import make_world
from tests.load.crew import LoadError

Engine = Literal["plain", "ray"]
INFO_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway under load. users: range of known ids. server: what it says it is; where: how it was started."""

    address: str
    users: tuple[int, int]
    server: str
    where: str

    @classmethod
    def at(cls, address: str, users: tuple[int, int], where: str = "a gateway that was running") -> "Place":
        """Ask the gateway who it is. Raises LoadError when it does not answer."""
        try:
            with Client(address, timeout=INFO_SECONDS) as client:
                info = client.info()
        except RecStackError as error:
            raise LoadError(f"no gateway answers at {address}: {error}") from error
        bundles = {backend.bundle_version for backend in info.backends} - {""}
        server = f"RecStack {info.gateway.version}, bundle {', '.join(sorted(bundles)) or 'unknown'}"
        return cls(address, users, server, where)


@contextmanager
def local_place(store: str | None, engine: Engine, users: tuple[int, int] | None) -> Iterator[Place]:
    """A stack on free ports with a Redis of its own; all of it is gone afterwards.

    store: folder of a bundle store whose active bundle is served; without it, an invented world with random weights,
    kept in the home folder, so that nothing has to be trained. users: all users of the bundle if not given.
    """
    settings = _store_settings(store) if store else make_world(load_settings().home / "load/world")
    with (
        tempfile.TemporaryDirectory(prefix="recstack-load-") as redis,
        LocalStack(settings, ranking=engine, free_ports=True, redis_folder=Path(redis)) as stack,
    ):
        known = users or _users(settings)
        where = f"a local stack that shares {os.cpu_count()} cores with the load generator, ranking engine {engine}"
        yield Place.at(stack.settings.gateway.address, known, where)


def machine() -> str:
    """The machine of the load generator."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _store_settings(store: str) -> Settings:
    return load_settings().model_copy(update={"bundle": BundleSettings(store=store)})


def _users(settings: Settings) -> tuple[int, int]:
    """First and last user with a history in the active bundle."""
    store = BundleStore.of(settings)
    folder = store.open(store.active() or "").folder
    with np.load(folder / "features/histories.npz", allow_pickle=False) as columns:
        return int(columns["user_ids"].min()), int(columns["user_ids"].max())
