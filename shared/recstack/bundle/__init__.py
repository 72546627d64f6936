"""The bundle: one atomic model version, with its item index, id map, features, metrics and checksums."""

from recstack.bundle.bundle import Bundle
from recstack.bundle.manifest import REQUIRED_FILES, FileEntry, Manifest
from recstack.bundle.store import BundleStore
from recstack.bundle.watcher import BundleWatcher, Loaded

__all__ = ["REQUIRED_FILES", "Bundle", "BundleStore", "BundleWatcher", "FileEntry", "Loaded", "Manifest"]
