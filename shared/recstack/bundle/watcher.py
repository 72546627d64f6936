"""Hot swap: follow the store's active pointer, load beside what serves, then swap one reference.

A server is never not-ready for a model change. What cannot be verified or loaded is refused: the old bundle
keeps serving, and `info().last_refusal` says why.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from recstack.api.common.v1.common_pb2 import BundleInfo
from recstack.bundle.bundle import Bundle
from recstack.bundle.manifest import Manifest
from recstack.bundle.store import BundleStore
from recstack.errors import BundleError
from recstack.metrics import BUNDLE_CREATED, BUNDLE_IN_USE, BUNDLE_REFUSED

log = logging.getLogger("recstack.bundle")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A bundle in use: its manifest and what the server built from it."""

    manifest: Manifest
    model: T


class BundleWatcher(Generic[T]):
    """Keeps `build(bundle)` of the active bundle at hand.

    build: runs in a thread; loads and warms up; may raise BundleError to refuse.
    on_swap: awaited after each swap, for example to publish readiness.
    """

    def __init__(
        self,
        store: BundleStore,
        build: Callable[[Bundle], T],
        poll_seconds: float,
        on_swap: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._build = build
        self._poll_seconds = poll_seconds
        self._on_swap = on_swap
        self._loaded: Loaded[T] | None = None
        self._refused_version: str | None = None
        self._last_refusal = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try the active bundle once, then follow the pointer in the background."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="bundle-watcher")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def loaded(self) -> Loaded[T] | None:
        """What is in use. Take it once per request: a swap replaces the reference, never the object."""
        return self._loaded

    def require(self) -> Loaded[T]:
        """What is in use; BundleError when there is nothing yet."""
        if self._loaded is None:
            raise BundleError(self._last_refusal or self._nothing_active())
        return self._loaded

    def info(self) -> BundleInfo:
        """What is in use and the last refusal, for GetInfo."""
        if self._loaded is None:
            return BundleInfo(last_refusal=self._last_refusal)
        manifest = self._loaded.manifest
        return BundleInfo(
            version=manifest.version,
            schema_hash=manifest.schema_hash,
            created_at_ms=manifest.created_at_ms,
            last_refusal=self._last_refusal,
        )

    async def refresh(self) -> None:
        """Look at the pointer once and swap when it names another bundle than the one in use."""
        version: str | None = None
        try:
            version = await asyncio.to_thread(self._store.active)
            in_use = self._loaded.manifest.version if self._loaded else None
            if version is None or version == self._refused_version:
                return
            if version == in_use:
                self._accept()
                return
            self._loaded = await asyncio.to_thread(self._load, version)
            self._accept()
        except BundleError as error:
            # The content is at fault: the same version would fail again, so wait for another one.
            self._refuse(str(error))
            self._refused_version = version
        except Exception as error:
            # Storage may come back; try again at the next look.
            log.exception("cannot load the active bundle")
            self._refuse(f"cannot load the active bundle of {self._store.url}: {error}")
        else:
            log.info("bundle %s is in use", self._loaded.manifest.version)
            self._tell(self._loaded.manifest)
            if self._on_swap is not None:
                await self._on_swap()

    @staticmethod
    def _tell(manifest: Manifest) -> None:
        BUNDLE_IN_USE.clear()
        BUNDLE_IN_USE.labels(manifest.version).set(1)
        BUNDLE_CREATED.clear()
        BUNDLE_CREATED.labels(manifest.version).set(manifest.created_at_ms / 1000)

    def _load(self, version: str) -> Loaded[T]:
        bundle = self._store.open(version)
        bundle.verify()
        return Loaded(bundle.manifest, self._build(bundle))

    def _accept(self) -> None:
        self._last_refusal, self._refused_version = "", None
        BUNDLE_REFUSED.set(0)

    def _refuse(self, reason: str) -> None:
        if reason != self._last_refusal:
            log.error("bundle refused: %s", reason)
        self._last_refusal = reason
        BUNDLE_REFUSED.set(1)

    def _nothing_active(self) -> str:
        return f"no bundle is active in {self._store.url}; make one with `recstack train`"

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.refresh()
            except Exception:  # an on_swap that fails must not end the following of bundles
                log.exception("cannot publish the swap to another bundle")
