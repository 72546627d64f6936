"""A local stack for the run, where no gateway is there to be asked."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from recstack.bundle import BundleStore
from recstack.config import BundleSettings, Settings, load_settings
from recstack.local import LocalStack
from recstack.rpc.credentials import tls_to
from tests.bench.world import make_world
from tests.load.place import Place

Engine = Literal["plain", "ray"]


@contextmanager
def local_place(store: str | None, engine: Engine, users: tuple[int, int] | None) -> Iterator[Place]:
    """A stack on free ports with a home of its own, beside any other that runs; all of it is gone afterwards.

    store: folder or URL of a bundle store whose active bundle is served; without it, an invented world with random
    weights, kept for the next run, so that nothing has to be trained. users: all users of the bundle if not given.
    """
    settings = _settings(store) if store else make_world(load_settings().home / "load/world")
    known = users or _users(settings)
    with tempfile.TemporaryDirectory(prefix="recstack-load-") as home:
        settings = settings.model_copy(update={"home": Path(home)})
        with LocalStack(settings, ranking=engine, free_ports=True) as stack:
            yield _described(stack, engine, known)


def _described(stack: LocalStack, engine: Engine, users: tuple[int, int]) -> Place:
    where = f"a local stack that shares {os.cpu_count()} cores with the load generator, ranking engine {engine}"
    return Place.at(stack.settings.gateway.address, users, where, tls_to("gateway", stack.settings))


def _settings(store: str) -> Settings:
    return load_settings().model_copy(update={"bundle": BundleSettings(store=store)})


def _users(settings: Settings) -> tuple[int, int]:
    """First and last user with a history in the active bundle."""
    store = BundleStore.of(settings)
    folder = store.open(store.active() or "").folder
    with np.load(folder / "features/histories.npz", allow_pickle=False) as columns:
        return int(columns["user_ids"].min()), int(columns["user_ids"].max())
