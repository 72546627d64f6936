"""The main job, whole: train on an invented world, publish, start Redis and the four services with ranking on Ray
Serve, and recommend through gRPC. One stack serves all tests of this file.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch

from recstack import Client, Event, EventType, FeatureStatus, InvalidRequestError, NotFoundError
from recstack.api.common.v1.common_pb2 import Channel, History, UserProfile
from recstack.api.ranking.v1.ranking_pb2 import RankRequest
from recstack.api.ranking.v1.ranking_pb2_grpc import RankingServiceStub
from recstack.api.retrieval.v1.retrieval_pb2 import ChannelRequest, RetrieveRequest
from recstack.api.retrieval.v1.retrieval_pb2_grpc import RetrievalServiceStub
from recstack.bundle import BundleStore
from recstack.config import BundleSettings, Settings
from recstack.data import Dataset, synthetic_world, temporal_rows, temporal_split
from recstack.features.batch import user_batch
from recstack.features.schema import PROFILE_SIZES
from recstack.local import LocalStack
from recstack.models.retrievers import load_retriever
from recstack.rpc.channel import sync_channel
from services.trainer.golden import GoldenCase, read_golden
from services.trainer.publish import Models, publish
from services.trainer.trainers import TRAINERS

TIMEOUT = 20.0  # a busy test machine, not a figure


@dataclass(frozen=True)
class World:
    """A running stack, the data that it was trained on, and the versions of its two bundles."""

    stack: LocalStack
    dataset: Dataset
    store: BundleStore
    first: str
    second: str

    def seen_by(self, user_id: int) -> set[int]:
        row = int(np.searchsorted(self.dataset.users.ids, user_id))
        events = self.dataset.events
        return set(self.dataset.items.ids[events.item[events.user == row]].tolist())

    @property
    def user(self) -> int:
        """The most active user."""
        return int(self.dataset.users.ids[np.bincount(self.dataset.events.user).argmax()])


def train_and_publish(store: BundleStore, dataset: Dataset, folder: Path, seed: int) -> str:
    split, trained = temporal_rows(temporal_split(dataset)), {}
    for trainer in (TRAINERS["two_tower"], TRAINERS["dien"]):
        preset = trainer.preset("quick")
        preset = replace(preset, fit=replace(preset.fit, epochs=1))
        trained[trainer.name], _ = trainer.train(dataset, split, preset, folder / trainer.name, device="cpu", seed=seed)
    two_tower, dien = trained.values()
    models = Models(retriever=two_tower, rankers={"dien": dien}, weights={"dien": 1.0})
    return publish(store, dataset, models, {}).version


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    store = BundleStore(str(home / "bundles"))
    dataset = synthetic_world(seed=1, users=250, items=300, events=12_000)
    first = train_and_publish(store, dataset, home / "first", seed=1)
    second = train_and_publish(store, dataset, home / "second", seed=2)
    store.activate(first)
    settings = Settings(home=home, bundle=BundleSettings(poll_seconds=0.2))
    with LocalStack(settings, ranking="ray", free_ports=True) as stack:
        yield World(stack, dataset, store, first, second)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with world.stack.client(timeout=TIMEOUT) as client:
        yield client


def profile_of(case: GoldenCase) -> UserProfile:
    return UserProfile(**dict(zip(PROFILE_SIZES, case.profile.tolist(), strict=True)))


def history_of(case: GoldenCase) -> History:
    """What the gateway would send: the last events."""
    last = case.history.last(200)
    return History(
        item_ids=last.item_ids.tolist(), timestamps_ms=last.timestamps_ms.tolist(), ratings=last.ratings.tolist()
    )


def test_scores_through_ray_serve_equal_the_offline_scores_of_the_bundle(world: World) -> None:
    cases = read_golden(world.store.open(world.first).folder / "golden.npz")
    assert len({len(case.history) for case in cases}) > 3, "short, long and empty histories"
    with sync_channel(world.stack.settings.ranking.address) as channel:
        for case in cases:
            request = RankRequest(
                user_id=case.user_id,
                profile=profile_of(case),
                history=history_of(case),
                item_ids=case.item_ids.tolist(),
            )
            served = RankingServiceStub(channel).Rank(request, timeout=TIMEOUT).scores
            np.testing.assert_allclose(served, case.scores, rtol=0, atol=1e-5)


def test_recall_through_grpc_equals_the_towers_of_the_bundle(world: World) -> None:
    bundle = world.store.open(world.first)
    model, catalogue = load_retriever(bundle.folder / "retrieval"), bundle.catalogue()
    vectors_ID = np.load(bundle.folder / "retrieval/item_vectors.npy")
    with torch.inference_mode():
        np.testing.assert_allclose(model.encode_items(catalogue.item_table())[1:].numpy(), vectors_ID, atol=1e-5)
    with sync_channel(world.stack.settings.retrieval.address) as channel:
        for case in read_golden(bundle.folder / "golden.npz"):
            request = RetrieveRequest(
                profile=profile_of(case),
                history=history_of(case),
                channels=[ChannelRequest(channel=Channel.CHANNEL_TWO_TOWER, k=30)],
            )
            served = RetrievalServiceStub(channel).Retrieve(request, timeout=TIMEOUT).results[0]
            history = case.history.last(model.config.max_history)
            user = user_batch(
                case.profile[None], [catalogue.index_of(history.item_ids)], [history.ratings], len(history) or 1
            )
            with torch.inference_mode():
                offline_I = vectors_ID @ model.encode_users(user, catalogue.item_table())[0].numpy()
            rows = catalogue.index_of(np.array(served.item_ids)) - 1
            np.testing.assert_allclose(served.scores, offline_I[rows], rtol=0, atol=1e-5)
            np.testing.assert_allclose(served.scores, np.sort(offline_I)[::-1][:30], rtol=0, atol=1e-5)


def test_a_known_user_gets_unseen_items_with_titles_channels_and_times(world: World, client: Client) -> None:
    answer = client.recommend(world.user, 20)
    ids = [item.item_id for item in answer.items]
    assert len(ids) == len(set(ids)) == 20
    assert not set(ids) & world.seen_by(world.user)
    assert all(item.title and item.channels and item.genres for item in answer.items)
    assert not answer.cold_start
    assert answer.degraded == ()
    assert answer.profile_status is FeatureStatus.PRESENT
    assert answer.bundle_versions == {"retrieval": world.first, "ranking": world.first}
    assert {"hydrate", "sources", "score", "total"} <= {timing.stage for timing in answer.timings}


def test_an_unknown_user_gets_a_cold_start_marked_as_such(client: Client) -> None:
    answer = client.recommend(999_999_999, 10)
    assert answer.cold_start
    assert len(answer.items) == 10
    assert answer.profile_status is FeatureStatus.MISSING


def test_an_event_changes_the_next_recommendation(world: World, client: Client) -> None:
    user = 777_000_001
    before = client.recommend(user, 10)
    event = Event(item_id=before.items[0].item_id, type=EventType.RATING, rating=5)
    assert client.record_events(user, [event]) == (True,)
    assert client.record_events(user, [event]) == (False,), "the same event again changes nothing"
    after = client.recommend(user, 10)
    assert event.item_id not in [item.item_id for item in after.items]
    assert not after.cold_start
    assert "item_to_item" in {channel for item in client.recommend(user, 50).items for channel in item.channels}


def test_explain_agrees_with_recommend(world: World, client: Client) -> None:
    answer = client.recommend(world.user, 10)
    seen = next(iter(world.seen_by(world.user)))
    explained = client.explain(world.user, [answer.items[0].item_id, seen], 10)
    first, dropped = explained.items
    assert first.position == 1
    assert first.score == pytest.approx(answer.items[0].score, abs=1e-5)
    assert {channel.channel for channel in first.channels} == set(answer.items[0].channels)
    assert first.influences
    assert dropped.drop_reason == "already_watched"


def test_filters_hold_end_to_end(client: Client, world: World) -> None:
    from recstack import Filter

    limits = Filter(include_genres=("Comedy",), exclude_genres=("Horror",), min_year=1960)
    items = client.recommend(world.user, 10, filter=limits).items
    assert items
    assert all("Comedy" in i.genres and "Horror" not in i.genres and (i.year or 0) >= 1960 for i in items)


@pytest.mark.parametrize(("user", "k", "message"), [(-1, 5, "user_id"), (1, 0, "k is 0"), (1, 100_000, "k is 100000")])
def test_bad_input_is_one_clear_error(client: Client, user: int, k: int, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.recommend(user, k)


def test_an_unknown_item_is_named(client: Client) -> None:
    with pytest.raises(NotFoundError, match="123456789"):
        client.similar_items(123_456_789, 5)
    with pytest.raises(NotFoundError, match="123456789"):
        client.record_events(1, [Event(item_id=123_456_789, type=EventType.CLICK)])


def test_a_new_bundle_is_served_without_a_failed_request_and_rolls_back(world: World, client: Client) -> None:
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking() -> None:
        with world.stack.client(timeout=TIMEOUT) as own:
            while not stop.is_set():
                try:
                    answer = own.recommend(world.user, 5)
                    assert answer.degraded == (), answer.degraded
                except Exception as failure:
                    failures.append(failure)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        world.store.activate(world.second)
        wait_for_bundle(client, world.user, world.second)
        world.store.rollback()
        wait_for_bundle(client, world.user, world.first)
    finally:
        stop.set()
        asking.join()
    assert not failures


def wait_for_bundle(client: Client, user: int, version: str) -> None:
    """Ask until retrieval and ranking both answer with `version`; the test's own time limit ends a vain wait."""
    while set(client.recommend(user, 5).bundle_versions.values()) != {version}:
        pass


def test_every_server_says_what_it_serves(world: World) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    settings = world.stack.settings
    sections = (settings.feature_store, settings.retrieval, settings.ranking, settings.gateway)
    for address in (section.address for section in sections):
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with world.stack.client(timeout=TIMEOUT) as client:
        info = client.info()
    assert len(info.backends) == 3
