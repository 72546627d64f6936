"""The public surface of `recstack`."""

import inspect
import subprocess
import sys

import recstack
from recstack import client, errors
from recstack.client import types


def public(module: object) -> set[str]:
    """Classes that a module defines."""
    name = getattr(module, "__name__", "")
    return {key for key, value in vars(module).items() if inspect.isclass(value) and value.__module__ == name}


def test_everything_a_caller_can_meet_is_exported() -> None:
    expected = public(types) | public(errors) | set(client.__all__)
    assert set(recstack.__all__) == expected
    assert all(hasattr(recstack, name) for name in recstack.__all__)


def test_import_is_light() -> None:
    script = "import sys, recstack; print(*sorted({'torch', 'ray', 'faiss', 'numpy', 'redis'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_sync_and_async_clients_have_the_same_methods() -> None:
    blocking, asynchronous = recstack.Client, recstack.AsyncClient
    names = {name for name in vars(blocking) if not name.startswith("_")}
    assert names == {name for name in vars(asynchronous) if not name.startswith("_")}
    for name in names:
        parameters = inspect.signature(getattr(blocking, name)).parameters
        assert parameters == inspect.signature(getattr(asynchronous, name)).parameters, name
