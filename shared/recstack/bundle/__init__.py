"""The bundle: one atomic model version, with its item index, id map, features, metrics and checksums."""

from recstack.bundle.bundle import Bundle
from recstack.bundle.manifest import CONTENT, RETRIEVAL, FileEntry, Manifest, ranker_folder, required_files
from recstack.bundle.store import BundleStore
from recstack.bundle.watcher import BundleWatcher, Loaded

__all__ = [
    "CONTENT",
    "RETRIEVAL",
    "Bundle",
    "BundleStore",
    "BundleWatcher",
    "FileEntry",
    "Loaded",
    "Manifest",
    "ranker_folder",
    "required_files",
]
