"""Publish, verify, activate, roll back: on a local folder and on a remote (in-memory) file system."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from recstack.bundle import BundleStore, required_files
from recstack.errors import BundleError
from tests.helpers.bundles import write_hollow_bundle


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A complete bundle folder; the bytes do not matter to the store."""
    folder = tmp_path / "content"
    write_hollow_bundle(folder, "three bytes, or so")
    return folder


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    if request.param == "local":
        return BundleStore(str(tmp_path / "store"))
    return BundleStore(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")


def publish(
    store: BundleStore,
    content: Path,
    mark: str,
    rankers: Mapping[str, float] = {"dien": 1.0},
    models: Mapping[str, str] = {"retrieval": "two_tower"},
) -> str:
    (content / "golden.npz").write_text(mark)
    metrics = {"dien/auc": 0.8}
    return store.publish(content, dataset="test", models=models, rankers=rankers, metrics=metrics).version


def test_publish_keeps_every_byte_and_verifies(store: BundleStore, content: Path) -> None:
    version = publish(store, content, "a")
    bundle = store.open(version)
    bundle.verify()
    for name in required_files(["dien"]):
        assert (bundle.folder / name).read_bytes() == (content / name).read_bytes()
    assert bundle.manifest.metrics == {"dien/auc": 0.8}
    assert store.active() is None, "publishing must not activate"


def test_activate_and_rollback_walk_the_history(store: BundleStore, content: Path) -> None:
    first, second, third = (publish(store, content, mark) for mark in "abc")
    for version in (first, second, third):
        store.activate(version)
    assert store.active() == third
    assert store.rollback().version == second
    assert store.rollback().version == first
    with pytest.raises(BundleError, match="nothing to roll back to"):
        store.rollback()
    assert store.active() == first


def test_an_incomplete_folder_is_refused_and_leaves_nothing(store: BundleStore, content: Path) -> None:
    (content / "retrieval/index.faiss").unlink()
    with pytest.raises(BundleError, match=r"lacks retrieval/index\.faiss"):
        publish(store, content, "a")
    assert store.published().manifests == ()


def test_an_empty_folder_is_refused(store: BundleStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="incomplete"):
        store.publish(tmp_path / "empty", dataset="test", models={}, rankers={"dien": 1.0}, metrics={})


def test_what_a_bundle_must_hold_depends_on_what_it_says_it_serves(store: BundleStore, content: Path) -> None:
    with pytest.raises(BundleError, match=r"lacks rankers/dcn/config\.json"):
        publish(store, content, "a", {"dien": 0.5, "dcn": 0.5})
    with pytest.raises(BundleError, match=r"lacks content/config\.json, content/interactions\.npy"):
        publish(store, content, "a", models={"retrieval": "two_tower", "content": "multimodal"})
    write_hollow_bundle(content, rankers=["dien", "dcn"], content=True)
    publish(store, content, "a", {"dien": 0.5, "dcn": 0.5}, {"retrieval": "two_tower", "content": "multimodal"})


@pytest.mark.parametrize("weights", [{}, {"dien": 1.5, "dcn": -0.5}, {"dien": 1.0, "dcn": 0.0}])
def test_weights_that_are_none_are_refused(tmp_path: Path, content: Path, weights: dict[str, float]) -> None:
    store = BundleStore(str(tmp_path / "store"))
    version = publish(store, content, "a")
    path = tmp_path / "store" / version / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rankers": weights}))
    with pytest.raises(BundleError, match=r"rankers: .*each above 0"):
        store.activate(version)


def test_another_format_is_named_whatever_else_it_holds(tmp_path: Path, content: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    version = publish(store, content, "a")
    (tmp_path / "store" / version / "manifest.json").write_text('{"format": 1, "models": "of long ago"}')
    with pytest.raises(BundleError, match="has format 1; this version of RecStack reads format 2"):
        store.activate(version)


def test_a_bundle_of_another_format_is_listed_with_the_reason_and_never_activated(
    tmp_path: Path, content: Path
) -> None:
    store = BundleStore(str(tmp_path / "store"))
    first, old, last = (publish(store, content, mark) for mark in "abc")
    store.activate(first)
    (tmp_path / "store" / old / "manifest.json").write_text('{"format": 1}')
    published = store.published()
    assert {manifest.version for manifest in published.manifests} == {first, last}
    assert published.unreadable.keys() == {old}
    assert "has format 1; this version of RecStack reads format 2" in published.unreadable[old]
    with pytest.raises(BundleError, match="has format 1"):
        store.activate(old)
    assert store.active() == first
    with pytest.raises(BundleError, match="no bundle 'other'"):
        store.open("other")


def test_an_unknown_version_names_the_known_ones(store: BundleStore, content: Path) -> None:
    version = publish(store, content, "a")
    with pytest.raises(BundleError, match=version):
        store.activate("19990101-000000-abcdef")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named_and_the_active_bundle_stays(tmp_path: Path, content: Path, damage: str) -> None:
    store = BundleStore(str(tmp_path / "store"))
    good, bad = publish(store, content, "a"), publish(store, content, "b")
    store.activate(good)
    path = tmp_path / "store" / bad / "retrieval/item_vectors.npy"
    if damage == "remove":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + (b"" if damage == "truncate" else bytes([data[-1] ^ 1])))
    with pytest.raises(BundleError, match=r"corrupt: retrieval/item_vectors\.npy"):
        store.activate(bad)
    assert store.active() == good


def test_another_schema_is_refused(tmp_path: Path, content: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    version = publish(store, content, "a")
    path = tmp_path / "store" / version / "manifest.json"
    manifest = json.loads(path.read_text()) | {"schema_hash": "0123456789abcdef"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="made for feature schema 0123456789abcdef"):
        store.activate(version)


def test_a_half_published_folder_is_not_a_bundle(tmp_path: Path, content: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    version = publish(store, content, "a")
    (tmp_path / "store" / version / "manifest.json").unlink()
    assert store.published().manifests == ()
    with pytest.raises(BundleError, match="no bundle"):
        store.activate(version)


def test_a_garbled_manifest_is_one_clear_error(tmp_path: Path, content: Path) -> None:
    store = BundleStore(str(tmp_path / "store"))
    version = publish(store, content, "a")
    (tmp_path / "store" / version / "manifest.json").write_text("{not json")
    with pytest.raises(BundleError, match="is not a bundle manifest"):
        store.verify(version)
