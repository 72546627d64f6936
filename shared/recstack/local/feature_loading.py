"""Bulk load of a bundle's features, once per bundle and Redis."""

import redis

from recstack.bundle.store import BundleStore
from recstack.config import Settings
from recstack.errors import UnavailableError
from recstack.features.loader import load_bundle_features
from recstack.local.reporter import Reporter

_LOADED_KEY = "recstack:local:loaded-bundle"


def load_active_features(settings: Settings, version: str, reporter: Reporter) -> None:
    """Load the features of bundle `version`, unless Redis says that it holds them already.

    A load replaces stored histories, so repeating it on each start would lose events recorded since.
    """
    try:
        with redis.Redis.from_url(settings.redis_url) as client:
            if client.get(_LOADED_KEY) == version.encode():
                reporter.step(f"the features of bundle {version} are loaded already")
                return
            reporter.step(f"loading the features of bundle {version}")
            load_features(settings, version, reporter)
            client.set(_LOADED_KEY, version)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer at {settings.redis_url}: {error}") from error


def load_features(settings: Settings, version: str, reporter: Reporter) -> None:
    """Load the features of a bundle, whatever Redis holds."""
    bundle = BundleStore(settings.bundle_store, settings.home / "cache" / "bundles").open(version)
    load_bundle_features(bundle.folder, settings.feature_store.address, reporter.progress)
