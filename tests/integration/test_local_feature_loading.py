"""The local stack loads a bundle's features once, and never two datasets into one Redis."""

from pathlib import Path

import pytest
import redis

from recstack.bundle import BundleStore
from recstack.config import BundleSettings, Settings
from recstack.errors import StackError
from recstack.local.feature_loading import load_features_once
from tests.helpers.bundles import write_hollow_bundle


class Silent:
    """A Reporter that keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def progress(self, done: int, total: int) -> None:
        pass


def publish(store: BundleStore, folder: Path, dataset: str) -> str:
    write_hollow_bundle(folder, dataset)
    return store.publish(folder, dataset=dataset, models={}, rankers={"dien": 1.0}, metrics={}).version


def test_another_dataset_is_refused_before_anything_is_written(tmp_path: Path, redis_url: str) -> None:
    store = BundleStore(str(tmp_path / "bundles"))
    version = publish(store, tmp_path / "content", "ml-1m")
    settings = Settings(home=tmp_path, redis_url=redis_url, bundle=BundleSettings(store=store.url))
    with redis.Redis.from_url(redis_url) as client:
        client.set("recstack:local:dataset", "synthetic")
        with pytest.raises(StackError, match=r"holds users and items of synthetic.*for ml-1m.*delete"):
            load_features_once(settings, version, Silent())
        assert client.dbsize() == 1


def test_the_same_histories_are_not_loaded_again(tmp_path: Path, redis_url: str) -> None:
    store = BundleStore(str(tmp_path / "bundles"))
    version = publish(store, tmp_path / "content", "ml-1m")
    settings = Settings(home=tmp_path, redis_url=redis_url, bundle=BundleSettings(store=store.url))
    checksum = store.open(version).manifest.files["features/histories.npz"].sha256
    reporter = Silent()
    with redis.Redis.from_url(redis_url) as client:
        client.set("recstack:local:loaded-histories", checksum)
    load_features_once(settings, version, reporter)
    assert reporter.steps == ["the features are in Redis already"]
