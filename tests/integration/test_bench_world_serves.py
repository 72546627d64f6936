"""A stack serves a benchmark's world whole: every RPC answers, through every channel, nothing degraded."""

from collections.abc import Iterator

import pytest

from recstack import Client, Event, EventType
from recstack.features.schema import HISTORY_RECORD
from recstack.local import LocalStack
from tests.bench.growth_points import Size, observe

CHANNELS = {"two_tower", "item_to_item", "popular", "fresh", "cold_start"}
HISTORY = 20
SIZE = Size(items=200, users=50, history=HISTORY, candidates=500)
TIMEOUT = 20.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = SIZE.settings(tmp_path_factory.mktemp("world"))
    with LocalStack(settings, ranking="plain", free_ports=True) as stack:
        yield stack


@pytest.fixture
def client(stack: LocalStack) -> Iterator[Client]:
    with stack.client(timeout=TIMEOUT) as client:
        yield client


def test_recommendations_come_through_every_channel_and_are_whole(client: Client) -> None:
    answer = client.recommend(7, 180)
    assert answer.degraded == ()
    assert not answer.cold_start
    assert answer.candidates == 200 - HISTORY, "the catalogue less what the user has seen"
    assert {channel for item in answer.items for channel in item.channels} == CHANNELS
    assert all(item.title and item.genres for item in answer.items)
    assert len({item.score for item in answer.items}) > 100, "the ranker tells items apart"
    assert {item.item_id for item in client.recommend(8, 20).items} != {item.item_id for item in answer.items[:20]}


def test_explanations_and_similar_items_are_whole(client: Client) -> None:
    first = client.recommend(9, 5).items[0].item_id
    explained = client.explain(9, [first])
    assert explained.degraded == ()
    assert explained.items[0].position == 1
    assert explained.items[0].influences, "history events change the score"
    alike = client.similar_items(first, 10)
    assert alike.degraded == ()
    assert len(alike.items) == 10


def test_a_recorded_event_is_seen(client: Client) -> None:
    first = client.recommend(10, 5).items[0].item_id
    assert client.record_events(10, [Event(item_id=first, type=EventType.WATCH)]) == (True,)
    answer = client.recommend(10, 180)
    assert first not in {item.item_id for item in answer.items}
    assert answer.candidates == 200 - HISTORY - 1


def test_the_cost_of_a_request_is_read_from_every_process(stack: LocalStack) -> None:
    point = observe(stack, SIZE, requests=20, warm_up=2)
    assert point.requests == 20
    assert point.degraded == 0
    assert 200 - HISTORY - 1 <= point.ranked <= 200 - HISTORY, "all that the user has not seen"
    assert point.cpu_ms.keys() == {"redis", "feature-store", "retrieval", "ranking", "gateway"}
    assert point.cpu_ms["ranking"] > 0
    assert point.total_cpu_ms >= sum(point.cpu_ms.values()) * 0.999
    assert 0 < point.p50_ms <= point.p99_ms
    assert point.stages_ms["total"] >= point.stages_ms["score"]
    assert point.user_bytes > HISTORY * HISTORY_RECORD.itemsize
    assert point.resident_mb["retrieval"] > 50
