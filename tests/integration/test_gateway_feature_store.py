"""The gateway on the real feature store and a real Redis: what was seen never comes back."""

from collections.abc import AsyncIterator

import grpc
import pytest
from feature_store_kit import item_chunk, load, running_store, user_chunk

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from tests.helpers.gateway_stack import CATALOGUE, Stack, running_stack

USER = 7


@pytest.fixture
async def stack(redis_url: str) -> AsyncIterator[Stack]:
    async with running_store(redis_url) as store:
        await load(store, item_chunk(CATALOGUE), user_chunk(USER, (1, 3, 4, 5)))
        async with running_stack(feature_store=store.address) as stack:
            yield stack


def watched(*item_ids: int) -> gateway_pb2.RecordEventsRequest:
    count = len(item_ids)
    return gateway_pb2.RecordEventsRequest(
        user_id=USER,
        event_ids=[f"watch-{item_id}" for item_id in item_ids],
        types=[common_pb2.EVENT_TYPE_WATCH] * count,
        item_ids=item_ids,
        timestamps_ms=[0] * count,
        ratings=[0] * count,
    )


async def test_every_acknowledged_event_changes_the_next_recommendation(stack: Stack) -> None:
    request = gateway_pb2.RecommendRequest(user_id=USER, k=5)
    seen: set[int] = set()
    for _ in range(7):
        reply = await stack.stub.Recommend(request)
        assert len(reply.item_ids) == 5
        assert not seen & set(reply.item_ids), "no repeats"
        assert list(reply.degraded) == []
        written = await stack.stub.RecordEvents(watched(*reply.item_ids))
        assert list(written.written) == [True] * 5
        seen |= set(reply.item_ids)

    again = await stack.stub.RecordEvents(watched(*reply.item_ids))
    assert list(again.written) == [False] * 5, "repeating an event changes nothing"


async def test_titles_years_and_genres_come_from_the_store(stack: Stack) -> None:
    reply = await stack.stub.Recommend(gateway_pb2.RecommendRequest(user_id=USER, k=1))

    assert reply.titles == ["Item 40"]
    assert reply.years == [1940]
    assert reply.genres == ["Comedy"]
    assert reply.profile_status == common_pb2.FEATURE_STATUS_STALE, "it was loaded as of 1970"
    assert not reply.cold_start, "an old profile is still a profile"


async def test_an_event_on_an_unknown_item_is_refused_in_the_stores_words(stack: Stack) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stack.stub.RecordEvents(watched(1, 4242))

    assert refused.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    assert "4242" in refused.value.details()


async def test_an_unknown_item_cannot_be_explained(stack: Stack) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="item 4242 is not in the catalogue") as refused:
        await stack.stub.Explain(gateway_pb2.ExplainRequest(user_id=USER, k=1, item_ids=[40, 4242]))

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
