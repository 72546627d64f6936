"""Bundle storage: a folder or any fsspec URL (s3://…, gs://…) that holds bundles and one pointer to the active one.

STORE/VERSION/…              files of a bundle; immutable
STORE/VERSION/manifest.json  written last: a folder without it is not a bundle yet, so publishing is atomic
STORE/active.json            {"versions": [oldest … newest activation]}; the last one is active
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import fsspec
from fsspec.implementations.local import LocalFileSystem

from recstack.bundle.bundle import Bundle
from recstack.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest
from recstack.config import Settings
from recstack.errors import BundleError
from recstack.features.schema import SCHEMA
from recstack.revision import git_revision

POINTER_NAME = "active.json"
_KEPT_ACTIVATIONS = 20


@dataclass(frozen=True, slots=True)
class Published:
    """What a store holds. manifests: newest first. unreadable: why a version's manifest cannot be read, by version."""

    manifests: tuple[Manifest, ...]
    unreadable: Mapping[str, str]


class BundleStore:
    """Publish, list, open, verify, activate and roll back bundles.

    url: a folder or an fsspec URL. cache: local folder for bundles of a remote store.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url
        # Others publish into the store, so what was listed before says nothing.
        self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._cache = cache

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The configured store; bundles of a remote one are kept in HOME/cache/bundles."""
        return cls(settings.bundle_store, settings.home / "cache" / "bundles")

    def publish(
        self,
        folder: Path,
        *,
        dataset: str,
        models: Mapping[str, str],
        rankers: Mapping[str, float],
        metrics: Mapping[str, float],
    ) -> Manifest:
        """Copy `folder` into the store as a new version. It is not active until `activate`.

        models, rankers and metrics are those of `Manifest`. Raises BundleError when a required file is missing; then
        nothing is left in the store.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
        files = {path.relative_to(folder).as_posix(): FileEntry.of(path) for path in paths}
        now = time.time()
        content = hashlib.sha256("".join(entry.sha256 for entry in files.values()).encode()).hexdigest()
        manifest = Manifest(
            version=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{content[:6]}",
            schema_hash=SCHEMA.hash,
            created_at_ms=int(now * 1000),
            dataset=dataset,
            git_revision=git_revision(),
            models=dict(models),
            rankers=dict(rankers),
            metrics=dict(metrics),
            files=files,
        )
        Bundle(folder, manifest).verify()
        target = f"{self._root}/{manifest.version}"
        if self._fs.exists(f"{target}/{MANIFEST_NAME}"):
            raise BundleError(
                f"bundle {manifest.version} exists already in {self.url}; wait a second and publish again"
            )
        try:
            for name in files:
                self._fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self._fs.put_file(str(folder / name), f"{target}/{name}")
            self._write(f"{target}/{MANIFEST_NAME}", manifest.model_dump_json(indent=2))
        except BaseException:
            self._fs.rm(target, recursive=True)
            raise
        return manifest

    def published(self) -> Published:
        """All published bundles. One that another version of RecStack has published may be unreadable to this one."""
        manifests, unreadable = [], {}
        for path in self._fs.ls(self._root, detail=False) if self._fs.exists(self._root) else []:
            place = f"{path}/{MANIFEST_NAME}"
            if not self._fs.exists(place):
                continue
            try:
                manifests.append(Manifest.parse(self._fs.cat_file(place), place))
            except BundleError as error:
                unreadable[path.rsplit("/", 1)[-1]] = str(error)
        return Published(
            tuple(sorted(manifests, key=lambda manifest: manifest.created_at_ms, reverse=True)), unreadable
        )

    def open(self, version: str) -> Bundle:
        """Open a version locally; a remote one is downloaded into the cache first. Does not verify."""
        remote = f"{self._root}/{version}"
        if not version or not self._fs.exists(f"{remote}/{MANIFEST_NAME}"):
            known = ", ".join(manifest.version for manifest in self.published().manifests) or "none"
            raise BundleError(f"no bundle {version!r} in {self.url}; published are: {known}")
        if isinstance(self._fs, LocalFileSystem):
            return Bundle.open(Path(remote))
        if self._cache is None:
            raise BundleError(f"{self.url} is remote: give BundleStore a cache folder to open bundles from it")
        local = self._cache / version
        if not (local / MANIFEST_NAME).is_file():
            manifest = Manifest.parse(self._fs.cat_file(f"{remote}/{MANIFEST_NAME}"), f"{remote}/{MANIFEST_NAME}")
            for name in [*manifest.files, MANIFEST_NAME]:
                (local / name).parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(f"{remote}/{name}", str(local / name))
        return Bundle.open(local)

    def verify(self, version: str) -> Manifest:
        """Check a version's completeness, checksums and schema; BundleError names what is wrong."""
        bundle = self.open(version)
        bundle.verify()
        return bundle.manifest

    def activate(self, version: str) -> Manifest:
        """Verify a version and point every server at it. Servers swap within `bundle.poll_seconds`."""
        manifest = self.verify(version)
        self._point([*self._activations(), version])
        return manifest

    def rollback(self) -> Manifest:
        """Activate again what was active before; BundleError when nothing was."""
        activations = self._activations()
        earlier = [version for version in activations if version != activations[-1]]
        if not earlier:
            raise BundleError(f"nothing to roll back to in {self.url}: no other bundle was active before")
        manifest = self.verify(earlier[-1])
        self._point(activations[: activations.index(earlier[-1]) + 1])
        return manifest

    def active(self) -> str | None:
        """The active version, or None."""
        activations = self._activations()
        return activations[-1] if activations else None

    def _activations(self) -> list[str]:
        path = f"{self._root}/{POINTER_NAME}"
        if not self._fs.exists(path):
            return []
        try:
            return [str(version) for version in json.loads(self._fs.cat_file(path))["versions"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path} is not readable: {error}; activate a bundle to write it anew") from error

    def _point(self, activations: list[str]) -> None:
        self._write(f"{self._root}/{POINTER_NAME}", json.dumps({"versions": activations[-_KEPT_ACTIVATIONS:]}))

    def _write(self, path: str, text: str) -> None:
        """Write beside, then rename, so that a reader never sees half a file."""
        self._fs.pipe_file(f"{path}.new", text.encode())
        self._fs.mv(f"{path}.new", path)
