"""Every way to ask the gateway wrongly has one clear answer, and nothing behind the gateway is bothered with it."""

from collections.abc import AsyncIterator

import grpc
import pytest

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.config import GatewaySettings
from recstack.errors import InvalidRequestError
from tests.helpers.gateway_stack import Fault, Stack, running_stack

Recommend, Filter = gateway_pb2.RecommendRequest, gateway_pb2.RecommendFilter
Similar, Explain, Events = (
    gateway_pb2.SimilarItemsRequest,
    gateway_pb2.ExplainRequest,
    gateway_pb2.RecordEventsRequest,
)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with running_stack(gateway=GatewaySettings(max_filter_items=3, max_explained_items=2)) as stack:
        for backend in (stack.features, stack.retrieval, stack.ranking):
            backend.requests.clear()  # the gateway has warmed up
        yield stack


def recommend(**limits: object) -> gateway_pb2.RecommendRequest:
    return Recommend(user_id=1, k=1, filter=Filter(**limits))


def click(**echo: object) -> gateway_pb2.RecordEventsRequest:
    types = [common_pb2.EVENT_TYPE_CLICK]
    return Events(user_id=1, event_ids=["a"], types=types, item_ids=[7], timestamps_ms=[0], ratings=[0], **echo)


@pytest.mark.parametrize(
    ("rpc", "request_", "message"),
    [
        ("Recommend", Recommend(user_id=-1, k=1), "user_id is -1; it must be between 0 and"),
        ("Recommend", Recommend(user_id=1), "k is 0; it must be between 1 and 200"),
        ("Recommend", Recommend(user_id=1, k=201), "k is 201; it must be between 1 and 200"),
        (
            "Recommend",
            Recommend(user_id=1, k=1, request_id="é" * 33),
            "request_id has 66 bytes; it must have at most 64",
        ),
        ("Recommend", recommend(include_genres=["Commedy"]), "filter.include_genres: unknown genre 'Commedy'; known"),
        ("Recommend", recommend(exclude_genres=["drama"]), "genres are Action, Adventure,"),
        ("Recommend", recommend(min_year=2001, max_year=2000), "filter.min_year is 2001 and filter.max_year is 2000"),
        ("Recommend", recommend(exclude_item_ids=[1, 2, 3, 4]), "filter.exclude_item_ids has 4 entries"),
        ("Recommend", recommend(exclude_item_ids=[2, 0]), "filter.exclude_item_ids is 0; it must be between 1"),
        ("SimilarItems", Similar(item_id=0, k=1), "item_id is 0; it must be between 1"),
        ("SimilarItems", Similar(item_id=1, k=0), "k is 0"),
        ("SimilarItems", Similar(item_id=1, k=1, filter=Filter(include_genres=["?"])), "unknown genre '?'"),
        ("Explain", Explain(user_id=1, k=1), "item_ids has 0 entries; it must have between 1 and 2"),
        ("Explain", Explain(user_id=1, k=1, item_ids=[1, 2, 3]), "item_ids has 3 entries"),
        ("Explain", Explain(user_id=1, k=1, item_ids=[-7]), "item_ids is -7"),
        ("Explain", Explain(user_id=1, item_ids=[1]), "k is 0"),
        ("Explain", Explain(user_id=-3, k=1, item_ids=[1]), "user_id is -3"),
        ("RecordEvents", Events(user_id=-1), "user_id is -1"),
        ("RecordEvents", Events(user_id=1), "event_ids has 0 entries; send at least one event"),
        ("RecordEvents", Events(user_id=1, event_ids=["a"], item_ids=[1, 2]), "parallel columns must have one length"),
        ("RecordEvents", click(channel_masks=[1, 2]), "channel_masks has 2 entries; it must have one per event, 1, or"),
        ("RecordEvents", click(arms=["a", "b"]), "arms has 2 entries; it must have one per event, 1, or none"),
        ("RecordEvents", click(arms=["é" * 33]), "arms has an entry of 66 bytes; each must have at most 64"),
    ],
)
async def test_bad_requests_are_refused_by_field(stack: Stack, rpc: str, request_: object, message: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(stack.stub, rpc)(request_)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in refused.value.details()
    assert [*stack.features.requests, *stack.retrieval.requests, *stack.ranking.requests] == []


async def test_limits_are_inclusive(stack: Stack) -> None:
    request = Recommend(
        user_id=2**63 - 1,
        k=200,
        request_id="x" * 64,
        filter=Filter(exclude_item_ids=[1, 2, 3], min_year=2000, max_year=2000, include_genres=["Comedy"]),
    )

    reply = await stack.stub.Recommend(request)

    assert reply.request_id == "x" * 64
    assert stack.retrieval.requests["Retrieve"][0].filter.include_genres == [5]


async def test_unknown_items_are_not_found_by_name(stack: Stack) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as similar:
        await stack.stub.SimilarItems(Similar(item_id=999, k=1))
    with pytest.raises(grpc.aio.AioRpcError) as explained:
        await stack.stub.Explain(Explain(user_id=1, k=1, item_ids=[1, 888]))

    assert similar.value.code() is explained.value.code() is grpc.StatusCode.NOT_FOUND
    assert similar.value.details() == "item 999 is not in the bundle", "the backend's own words"
    assert "item 888 is not in the catalogue" in explained.value.details()


async def test_an_event_is_not_lost_for_an_echo_that_this_gateway_has_never_given(stack: Stack) -> None:
    """Another release may know more channels and bundles."""
    reply = await stack.stub.RecordEvents(click(channel_masks=[2**32 - 1], arms=["x" * 64]))
    assert list(reply.written) == [True]


async def test_what_the_feature_store_refuses_comes_back_word_for_word(stack: Stack) -> None:
    stack.features.faults["WriteEvents"] = Fault(error=InvalidRequestError("item 77 is not in the catalogue"))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.stub.RecordEvents(click())

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "item 77 is not in the catalogue"


async def test_get_info_has_the_limits_and_the_backends_that_answer(stack: Stack) -> None:
    info = await stack.stub.GetInfo(gateway_pb2.GetInfoRequest())
    assert dict(info.info.limits)["max_k"] == 200
    assert dict(info.info.limits)["max_explained_items"] == 2
    assert [b.service for b in info.backends] == ["recstack.feature_store", "recstack.retrieval", "recstack.ranking"]

    await stack.stop("retrieval")
    info = await stack.stub.GetInfo(gateway_pb2.GetInfoRequest())
    assert [b.service for b in info.backends] == ["recstack.feature_store", "recstack.ranking"]
