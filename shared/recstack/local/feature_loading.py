"""Bulk load of a bundle's features into the feature store of a local stack."""

import redis

from recstack.bundle.store import BundleStore
from recstack.config import Settings
from recstack.errors import UnavailableError
from recstack.features.loader import LoadCounts, load_bundle_features
from recstack.local.reporter import Reporter

_LOADED_KEY = "recstack:local:loaded-histories"
_HISTORIES = "features/histories.npz"


def load_features_once(settings: Settings, version: str, reporter: Reporter) -> None:
    """Load the features of bundle `version`, unless Redis holds histories of the same checksum already.

    Only to start faster: a load is merged with the histories that are stored. A bundle that was retrained on the same
    data has the same histories.
    """
    checksum = _store(settings).open(version).manifest.files[_HISTORIES].sha256.encode()
    try:
        with redis.Redis.from_url(settings.redis_url) as client:
            if client.get(_LOADED_KEY) == checksum:
                reporter.step("the features are in Redis already")
                return
            reporter.step(f"loading the features of bundle {version}")
            load_features(settings, version, reporter)
            client.set(_LOADED_KEY, checksum)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer at {settings.redis_url}: {error}") from error


def load_features(settings: Settings, version: str, reporter: Reporter) -> LoadCounts:
    """Load the features of a bundle, whatever Redis holds; histories are merged with the stored ones."""
    bundle = _store(settings).open(version)
    return load_bundle_features(bundle.folder, settings.feature_store.address, reporter.progress)


def _store(settings: Settings) -> BundleStore:
    return BundleStore(settings.bundle_store, settings.home / "cache" / "bundles")
