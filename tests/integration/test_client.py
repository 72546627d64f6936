"""The client against a real gRPC server: values, errors, deadlines, retries, idempotency."""

from collections.abc import Iterator

import grpc
import pytest

import recstack
from recstack import AsyncClient, Client, Event, EventType, FeatureStatus, Filter, ScoreKind
from recstack.api.common.v1 import common_pb2
from tests.helpers.fake_gateway import VERSION, FakeGateway, running_fake_gateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running_fake_gateway() as gateway:
        yield gateway


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.address, timeout=10.0) as client:
        yield client


def test_recommendations_arrive_as_values(client: Client) -> None:
    answer = client.recommend(42, 2, request_id="mine")
    assert [item.item_id for item in answer] == [7, 9]
    assert len(answer) == 2
    first, second = answer.items
    assert (first.title, first.year, first.genres) == ("Seven [Director's Cut]", 1995, ("Crime", "Thriller"))
    assert (first.score, first.channels) == (0.75, ("two_tower", "popular"))
    assert (second.year, second.genres, second.channels) == (None, (), ("item_to_item", "fresh"))
    assert (answer.request_id, answer.candidates, answer.cold_start) == ("mine", 432, False)
    assert answer.profile_status is FeatureStatus.PRESENT
    assert answer.score_kind is ScoreKind.LIKE_PROBABILITY
    assert answer.bundle_versions == {"retrieval": VERSION, "ranking": VERSION}
    assert answer.arm == VERSION
    assert answer.timings[0] == recstack.StageTiming("sources/recall", 3.5)


def test_the_filter_reaches_the_gateway(gateway: FakeGateway, client: Client) -> None:
    chosen = Filter(
        exclude_item_ids=(1, 2), include_genres=("Comedy",), exclude_genres=("War",), min_year=1990, allow_seen=True
    )
    client.recommend(42, 5, filter=chosen)
    (request,) = gateway.requests
    assert (request.user_id, request.k, list(request.filter.exclude_item_ids)) == (42, 5, [1, 2])
    assert list(request.filter.include_genres) == ["Comedy"]
    assert list(request.filter.exclude_genres) == ["War"]
    assert (request.filter.min_year, request.filter.max_year, request.filter.allow_seen) == (1990, 0, True)


def test_similar_explain_and_info(client: Client) -> None:
    (neighbour,) = client.similar_items(7)
    assert (neighbour.item_id, neighbour.title, neighbour.year) == (8, "Eight", 1988)
    answer = client.explain(42, [7, 9])
    assert answer.score_kind is ScoreKind.RATING
    chosen, dropped = answer
    assert (chosen.position, chosen.score_rank, chosen.drop_reason) == (1, 2, None)
    assert chosen.channels == (recstack.ChannelEvidence("item_to_item", 3, 0.5, 11),)
    raised, lowered = chosen.influences
    assert raised == recstack.HistoryInfluence(11, "Eleven", 0.25, 5.0)
    assert (lowered.influence, lowered.rating) == (pytest.approx(-0.034), None)
    assert (dropped.position, dropped.score_rank, dropped.drop_reason) == (None, None, "already_watched")
    info = client.info()
    assert info.gateway.limits == {"max_k": 200}
    assert [(backend.service, backend.bundle_version) for backend in info.backends] == [("recstack.ranking", VERSION)]


def test_events_carry_ids_that_make_them_idempotent(gateway: FakeGateway, client: Client) -> None:
    rated = Event(item_id=7, type=EventType.RATING, rating=4.5)
    clicked = Event(item_id=9, type=EventType.CLICK, timestamp_ms=1_000)
    assert client.record_events(42, [rated, clicked]) == (True, True)
    assert client.record_events(42, [rated]) == (False,)
    assert client.record_events(42, [Event(item_id=7, type=EventType.RATING, rating=4.5)]) == (True,)
    request = gateway.requests[0]
    assert list(request.types) == [common_pb2.EVENT_TYPE_RATING, common_pb2.EVENT_TYPE_CLICK]
    assert (list(request.ratings), list(request.timestamps_ms)) == ([4.5, 0.0], [0, 1_000])
    assert len(set(request.event_ids)) == 2


def test_events_made_from_an_answer_say_what_recommended_their_item(gateway: FakeGateway, client: Client) -> None:
    page = client.recommend(42, 2)
    rated = page.items[1].event(EventType.RATING, rating=4.0)
    watched_elsewhere = Event(item_id=11, type=EventType.WATCH)
    assert client.record_events(42, [*page.impressions(), rated, watched_elsewhere]) == (True,) * 4
    events = gateway.requests[-1]
    assert list(events.item_ids) == [7, 9, 9, 11]
    impression, rating = common_pb2.EVENT_TYPE_IMPRESSION, common_pb2.EVENT_TYPE_RATING
    assert list(events.types) == [impression, impression, rating, common_pb2.EVENT_TYPE_WATCH]
    assert list(events.channel_masks) == [0b101, 0b1010, 0b1010, 0]
    assert list(events.arms) == [VERSION, VERSION, VERSION, ""]
    assert list(events.ratings) == [0, 0, 4, 0]

    client.record_events(42, [watched_elsewhere])
    assert not gateway.requests[-1].channel_masks
    assert not gateway.requests[-1].arms
    with pytest.raises(recstack.InvalidRequestError, match="channels: unknown channel 'two-tower'; channels are"):
        client.record_events(42, [Event(item_id=11, type=EventType.WATCH, channels=("two-tower",))])


def test_a_retry_after_unavailable_sends_the_same_event_id(gateway: FakeGateway, client: Client) -> None:
    gateway.failures.append((grpc.StatusCode.UNAVAILABLE, "restarting"))
    assert client.record_events(42, [Event(item_id=7, type=EventType.WATCH)]) == (True,)
    first, second = gateway.requests
    assert list(first.event_ids) == list(second.event_ids)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, recstack.InvalidRequestError),
        (grpc.StatusCode.NOT_FOUND, recstack.NotFoundError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, recstack.OverloadedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, recstack.DeadlineError),
        (grpc.StatusCode.FAILED_PRECONDITION, recstack.BundleError),
        (grpc.StatusCode.INTERNAL, recstack.RecStackError),
    ],
)
def test_a_status_becomes_its_error_with_the_servers_message(
    gateway: FakeGateway, client: Client, status: grpc.StatusCode, error: type[recstack.RecStackError]
) -> None:
    gateway.failures.append((status, "k is 0; it must be between 1 and 200"))
    with pytest.raises(error, match="k is 0; it must be between 1 and 200") as raised:
        client.recommend(42, 0)
    assert type(raised.value) is error
    assert len(gateway.requests) == 1  # only UNAVAILABLE is tried again


def test_unavailable_for_good_keeps_the_servers_message(gateway: FakeGateway, client: Client) -> None:
    gateway.failures.extend([(grpc.StatusCode.UNAVAILABLE, "Redis is down")] * 3)
    with pytest.raises(recstack.UnavailableError, match="Redis is down"):
        client.recommend(42)


def test_a_server_that_is_silent_is_a_deadline_error(gateway: FakeGateway, client: Client) -> None:
    gateway.hold.clear()
    with pytest.raises(recstack.DeadlineError, match=r"did not answer within 0\.2 s"):
        client.recommend(42, timeout=0.2)


def test_nobody_at_the_address_says_what_to_do() -> None:
    with Client("127.0.0.1:1", timeout=10.0) as client, pytest.raises(recstack.UnavailableError, match="recstack up"):
        client.recommend(42)


async def test_the_asyncio_client_does_the_same(gateway: FakeGateway) -> None:
    async with AsyncClient(gateway.address, timeout=10.0) as client:
        with Client(gateway.address, timeout=10.0) as blocking:
            assert await client.recommend(42, request_id="x") == blocking.recommend(42, request_id="x")
            assert await client.similar_items(7) == blocking.similar_items(7)
            assert await client.explain(42, [7]) == blocking.explain(42, [7])
            assert await client.info() == blocking.info()
        event = Event(item_id=7, type=EventType.WATCH)
        assert await client.record_events(42, [event]) == (True,)
        assert await client.record_events(42, [event]) == (False,)
        gateway.failures.append((grpc.StatusCode.NOT_FOUND, "no item 5"))
        with pytest.raises(recstack.NotFoundError, match="no item 5"):
            await client.similar_items(5)
