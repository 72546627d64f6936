"""From a dataset to feature files to Redis and back through the service, byte for byte."""

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from feature_store_kit import history_of, running_store

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2 as pb
from recstack.data.dataset import Dataset, Events, Items, Users
from recstack.errors import BundleError, DataError, UnavailableError
from recstack.features import loader
from recstack.features.loader import LoadCounts, load_bundle_features, write_feature_files
from recstack.features.schema import TITLE_BYTES
from recstack.ports import free_port

NUM_USERS, NUM_ITEMS, NUM_EVENTS = 40, 25, 600


@pytest.fixture
def dataset() -> Dataset:
    """Random users, items and events; the last user has no events, one title is longer than a row holds."""
    draw = np.random.default_rng(3)
    profile = {name: draw.integers(0, high, NUM_USERS).astype(np.uint8) for name, high in (("gender", 3), ("age", 8))}
    more = {name: draw.integers(0, 11, NUM_USERS).astype(np.uint8) for name in ("occupation", "region")}
    titles = ("é" * TITLE_BYTES, *(f"Film {n}" for n in range(1, NUM_ITEMS)))
    items = Items(
        ids=np.arange(10, 10 + NUM_ITEMS, dtype=np.int64),
        titles=titles,
        years=draw.integers(1930, 2000, NUM_ITEMS).astype(np.int16),
        genres=draw.integers(0, 19, (NUM_ITEMS, 6)).astype(np.uint8),
    )
    events = Events(
        user=draw.integers(0, NUM_USERS - 1, NUM_EVENTS).astype(np.int32),
        item=draw.integers(0, NUM_ITEMS, NUM_EVENTS).astype(np.int32),
        rating=draw.integers(1, 6, NUM_EVENTS).astype(np.float32),
        timestamp_ms=np.sort(draw.integers(1, 300, NUM_EVENTS)).astype(np.int64),
    )
    users = Users(ids=np.arange(1, NUM_USERS + 1, dtype=np.int64), **profile, **more)
    return Dataset("random", "made by a test", users, items, events)


async def test_what_was_in_the_dataset_is_served(dataset, redis_url, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(loader, "CHUNK_BYTES", 700)  # several chunks of each kind, some for one long history
    write_feature_files(tmp_path, dataset)
    progress: list[tuple[int, int]] = []
    async with running_store(redis_url) as store:
        counts = await asyncio.to_thread(
            load_bundle_features, tmp_path, store.address, lambda done, total: progress.append((done, total))
        )
        assert counts == LoadCounts(rows=NUM_USERS + NUM_ITEMS, histories=NUM_USERS)
        total = 2 * NUM_USERS + NUM_ITEMS
        assert progress[-1] == (total, total)
        assert [done for done, _ in progress] == sorted({done for done, _ in progress})

        reply = await store.stub.GetItems(pb.GetItemsRequest(item_ids=dataset.items.ids, plan="display"))
        year, genres, title = (np.frombuffer(column.data, column.dtype) for column in reply.columns)
        assert set(reply.statuses) == {common_pb2.FEATURE_STATUS_PRESENT}
        assert np.array_equal(year, dataset.items.years)
        assert np.array_equal(genres.reshape(-1, 6), dataset.items.genres)
        assert [value.decode() for value in title] == ["é" * (TITLE_BYTES // 2), *dataset.items.titles[1:]]

        events = dataset.events
        for row, user_id in enumerate(dataset.users.ids.tolist()):
            user = await store.stub.GetUser(pb.GetUserRequest(user_id=user_id))
            profile = user.profile
            assert [profile.gender, profile.age, profile.occupation, profile.region] == (
                dataset.users.profiles()[row].tolist()
            )
            mine = events.user == row
            ids = dataset.items.ids[events.item[mine]].tolist()
            columns = (ids, events.timestamp_ms[mine].tolist(), events.rating[mine].tolist())
            assert await history_of(store, user_id) == list(zip(*columns, strict=True))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"items\.npz does not exist; is this the folder of a bundle\?"):
        load_bundle_features(tmp_path, "127.0.0.1:1")


def test_a_file_that_is_no_feature_file_is_named(dataset, tmp_path: Path):
    write_feature_files(tmp_path, dataset)
    (tmp_path / "features/users.npz").write_bytes(b"not a zip file")
    with pytest.raises(DataError, match=r"users\.npz is not a feature file"):
        load_bundle_features(tmp_path, "127.0.0.1:1")


def test_rows_of_another_shape_are_refused_before_anything_is_sent(dataset, tmp_path: Path):
    write_feature_files(tmp_path, dataset)
    np.savez(tmp_path / "features/items.npz", ids=np.arange(2), rows=np.zeros(2, "<i4"), event_time_ms=np.int64(1))
    with pytest.raises(BundleError, match=r"items\.npz has rows of int32"):
        load_bundle_features(tmp_path, "127.0.0.1:1")


def test_columns_that_do_not_fit_together_are_refused(dataset, tmp_path: Path):
    write_feature_files(tmp_path, dataset)
    path = tmp_path / "features/histories.npz"
    with np.load(path) as columns:
        broken = dict(columns) | {"lengths": columns["lengths"] + 1}
    np.savez(path, **broken)
    with pytest.raises(DataError, match=f"{NUM_USERS} users, .* and {NUM_EVENTS} records"):
        load_bundle_features(tmp_path, "127.0.0.1:1")


def test_a_store_that_is_not_there_is_unavailable(dataset, tmp_path: Path):
    write_feature_files(tmp_path, dataset)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"the feature store at {address} did not take the features"):
        load_bundle_features(tmp_path, address)


async def test_a_load_keeps_the_events_that_were_recorded_since_its_snapshot(dataset, redis_url, tmp_path: Path):
    write_feature_files(tmp_path, dataset)
    newer = dataclasses.replace(dataset, events=_without(dataset.events, slice(0, 300)))
    write_feature_files(tmp_path / "newer", newer)
    user, item = int(dataset.users.ids[0]), int(dataset.items.ids[0])
    async with running_store(redis_url) as store:
        await asyncio.to_thread(load_bundle_features, tmp_path / "newer", store.address)
        await store.stub.WriteEvents(
            pb.WriteEventsRequest(
                user_id=user,
                event_ids=["early", "late"],
                types=[common_pb2.EVENT_TYPE_WATCH] * 2,
                item_ids=[item] * 2,
                timestamps_ms=[100, 10_000],
                ratings=[0, 0],
            )
        )
        for _ in range(2):  # the whole dataset: older events fill in, recorded ones stay; twice is as good as once
            await asyncio.to_thread(load_bundle_features, tmp_path, store.address)
        reply = await store.stub.GetUser(pb.GetUserRequest(user_id=user, history_length=500))
    mine = dataset.events.user == 0
    times = dataset.events.timestamp_ms[mine].tolist()
    assert list(reply.history.timestamps_ms) == sorted([*times, 100, 10_000])
    watched = [t for t, r in zip(reply.history.timestamps_ms, reply.history.ratings, strict=True) if r == 0]
    assert watched == [100, 10_000]


def _without(events: Events, rows: slice) -> Events:
    kept = np.delete(np.arange(len(events)), rows)
    return Events(events.user[kept], events.item[kept], events.rating[kept], events.timestamp_ms[kept])
