"""Bulk load of a bundle's features into the feature store of a local stack."""

import redis

from recstack.bundle.store import BundleStore
from recstack.config import Settings
from recstack.errors import StackError, UnavailableError
from recstack.features.loader import LoadCounts, load_bundle_features
from recstack.local.reporter import Reporter
from recstack.rpc.credentials import tls_to

_LOADED_KEY = "recstack:local:loaded-histories"
_DATASET_KEY = "recstack:local:dataset"
_HISTORIES = "features/histories.npz"


def load_features_once(settings: Settings, version: str, reporter: Reporter) -> None:
    """Load the features of bundle `version`, unless Redis holds histories of the same checksum already.

    Only to start faster: a load is merged with the histories that are stored. A bundle that was retrained on the same
    data has the same histories. Raises StackError when Redis holds another dataset: its users would be mixed up
    with users of this one that have the same ids.
    """
    manifest = _store(settings).open(version).manifest
    checksum = manifest.files[_HISTORIES].sha256.encode()
    try:
        with redis.Redis.from_url(settings.redis_url) as client:
            client.set(_DATASET_KEY, manifest.dataset, nx=True)
            _require_same_dataset(str(client.get(_DATASET_KEY), "utf-8"), manifest.dataset, settings)
            if client.get(_LOADED_KEY) == checksum:
                reporter.step("the features are in Redis already")
                return
            reporter.step(f"loading the features of bundle {version}")
            load_features(settings, version, reporter)
            client.set(_LOADED_KEY, checksum)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer at {settings.redis_name}: {error}") from error


def load_features(settings: Settings, version: str, reporter: Reporter) -> LoadCounts:
    """Load the features of a bundle, whatever Redis holds; histories are merged with the stored ones."""
    bundle = _store(settings).open(version)
    tls = tls_to("feature_store", settings)
    return load_bundle_features(bundle.folder, settings.feature_store.address, reporter.progress, tls)


def _require_same_dataset(stored: str, wanted: str, settings: Settings) -> None:
    if stored != wanted:
        raise StackError(
            f"the Redis at {settings.redis_name} holds users and items of {stored}, the active bundle is for {wanted}; "
            f"delete {settings.home / 'redis'}, or set REDIS_URL to another Redis, or activate a bundle for {stored}"
        )


def _store(settings: Settings) -> BundleStore:
    return BundleStore.of(settings)
