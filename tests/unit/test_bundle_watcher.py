"""Hot swap: load beside, refuse what is broken, keep serving."""

import asyncio
import threading
from pathlib import Path

import pytest

from recstack.bundle import Bundle, BundleStore, BundleWatcher
from recstack.errors import BundleError
from tests.helpers.bundles import write_hollow_bundle


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(str(tmp_path / "store"))


def publish(store: BundleStore, folder: Path, mark: str) -> str:
    write_hollow_bundle(folder, mark)
    return store.publish(folder, dataset="test", models={}, rankers={"dien": 1.0}, metrics={}).version


def read_mark(bundle: Bundle) -> str:
    mark = (bundle.folder / "golden.npz").read_text()
    if mark == "refuse me":
        raise BundleError("this one does not load")
    return mark


async def test_nothing_active_says_what_to_do(store: BundleStore) -> None:
    watcher = BundleWatcher(store, read_mark, poll_seconds=60)
    await watcher.start()
    with pytest.raises(BundleError, match="recstack train"):
        watcher.require()
    await watcher.stop()


async def test_swap_replaces_the_reference_not_the_object(store: BundleStore, tmp_path: Path) -> None:
    swaps: list[str] = []

    async def on_swap() -> None:
        swaps.append(watcher.require().model)

    watcher = BundleWatcher(store, read_mark, poll_seconds=60, on_swap=on_swap)
    store.activate(publish(store, tmp_path / "a", "a"))
    await watcher.refresh()
    held = watcher.require()
    second = publish(store, tmp_path / "b", "b")
    store.activate(second)
    await watcher.refresh()
    await watcher.refresh()
    assert (held.model, watcher.require().model) == ("a", "b")
    assert watcher.info().version == second
    assert swaps == ["a", "b"], "a second look at the same pointer must not load again"


async def test_a_refused_bundle_keeps_the_old_one_and_says_why(store: BundleStore, tmp_path: Path) -> None:
    watcher = BundleWatcher(store, read_mark, poll_seconds=60)
    good = publish(store, tmp_path / "a", "a")
    store.activate(good)
    await watcher.refresh()
    store.activate(publish(store, tmp_path / "b", "refuse me"))
    await watcher.refresh()
    assert watcher.require().model == "a"
    assert "does not load" in watcher.info().last_refusal
    store.rollback()
    await watcher.refresh()
    assert watcher.info().last_refusal == "", "going back to the bundle in use clears the refusal"


async def test_a_storage_failure_is_tried_again(store: BundleStore, tmp_path: Path) -> None:
    failures = iter([OSError("storage is away")])

    def build(bundle: Bundle) -> str:
        error = next(failures, None)
        if error:
            raise error
        return read_mark(bundle)

    watcher = BundleWatcher(store, build, poll_seconds=60)
    store.activate(publish(store, tmp_path / "a", "a"))
    await watcher.refresh()
    assert "storage is away" in watcher.info().last_refusal
    await watcher.refresh()
    assert watcher.require().model == "a"


async def test_following_picks_up_an_activation_off_the_event_loop(store: BundleStore, tmp_path: Path) -> None:
    loaded = asyncio.Event()
    threads: list[str] = []

    def build(bundle: Bundle) -> str:
        threads.append(threading.current_thread().name)
        return read_mark(bundle)

    async def on_swap() -> None:
        loaded.set()

    watcher = BundleWatcher(store, build, poll_seconds=0.01, on_swap=on_swap)
    await watcher.start()
    store.activate(publish(store, tmp_path / "a", "a"))
    await asyncio.wait_for(loaded.wait(), timeout=30)
    await watcher.stop()
    assert watcher.require().model == "a"
    assert "MainThread" not in threads


async def test_a_failing_on_swap_does_not_end_the_following(store: BundleStore, tmp_path: Path) -> None:
    called = asyncio.Queue[str]()

    async def on_swap() -> None:
        await called.put(watcher.require().model)
        raise RuntimeError("cannot publish readiness")

    watcher = BundleWatcher(store, read_mark, poll_seconds=0.01, on_swap=on_swap)
    await watcher.start()
    for mark in ("a", "b"):
        store.activate(publish(store, tmp_path / mark, mark))
        assert await asyncio.wait_for(called.get(), timeout=30) == mark
    await watcher.stop()
