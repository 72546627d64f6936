"""The gateway over real gRPC, with all backends well."""

import pytest

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.config import GatewaySettings
from recstack.errors import OverloadedError
from recstack.features.channels import channel_names
from tests.helpers.gateway_stack import Fault, Stack, genres_of, running_stack

PURE_RELEVANCE = GatewaySettings(diversity=0)


def recommend(user_id: int = 1, k: int = 5, **limits: object) -> gateway_pb2.RecommendRequest:
    return gateway_pb2.RecommendRequest(user_id=user_id, k=k, filter=gateway_pb2.RecommendFilter(**limits))


def event(stack: Stack, item_id: int, timestamp_ms: int = 0) -> gateway_pb2.RecordEventsRequest:
    return gateway_pb2.RecordEventsRequest(
        user_id=1,
        event_ids=[f"e{item_id}"],
        types=[common_pb2.EVENT_TYPE_WATCH],
        item_ids=[item_id],
        timestamps_ms=[timestamp_ms],
        ratings=[0],
    )


async def test_a_complete_answer() -> None:
    async with running_stack(gateway=PURE_RELEVANCE) as stack:
        reply = await stack.stub.Recommend(recommend(k=3))

    assert list(reply.item_ids) == [40, 39, 38]
    assert list(reply.scores) == pytest.approx([0.40, 0.39, 0.38])
    assert list(reply.titles) == ["Movie é 40", "Movie é 39", "Movie é 38"]
    assert list(reply.years) == [2000, 1999, 1998]
    assert reply.genres[0] == "Crime|Film-Noir"
    assert "popular" in channel_names(reply.channel_masks[0])
    assert list(reply.degraded) == []
    assert reply.candidates == 38, "the catalogue less the two items that were seen"
    assert dict(reply.bundle_versions) == {"retrieval": "r1", "ranking": "k1"}
    assert reply.arm == "k1", "the bundle that put it in order"
    assert reply.profile_status == common_pb2.FEATURE_STATUS_PRESENT
    assert not reply.cold_start
    assert len(reply.request_id) == 32
    timings = {timing.stage: timing.duration_ms for timing in reply.timings}
    assert {"hydrate", "sources/recall", "merge", "filters/already_watched", "score/ranking", "select", "total"} <= set(
        timings
    )
    assert timings["score/ranking.queue"] == 0.25
    assert timings["score/ranking.compute"] == 0.5
    assert timings["total"] >= timings["score"]


@pytest.mark.parametrize(("configured", "arm"), [("", "recall"), ("more-diverse", "more-diverse")])
async def test_the_arm_of_an_answer_in_recalls_order(configured: str, arm: str) -> None:
    """An experiment's arm keeps its answers, the degraded ones too."""
    async with running_stack(gateway=GatewaySettings(arm=configured)) as stack:
        stack.ranking.faults["Rank"] = Fault(error=OverloadedError("full"))
        reply = await stack.stub.Recommend(recommend())

    assert len(reply.degraded) == 1
    assert reply.arm == arm


async def test_diversity_reorders_but_invents_nothing() -> None:
    async with running_stack(gateway=GatewaySettings(diversity=1)) as stack:
        spread = await stack.stub.Recommend(recommend(k=38))

    unseen = [i for i in range(40, 0, -1) if i not in (3, 5)]
    assert spread.item_ids[0] == 40
    assert list(spread.item_ids) != unseen, "not the order of relevance"
    assert sorted(spread.item_ids, reverse=True) == unseen


async def test_an_unknown_user_gets_cold_start_recommendations() -> None:
    async with running_stack() as stack:
        reply = await stack.stub.Recommend(recommend(user_id=0))

    assert reply.cold_start
    assert reply.profile_status == common_pb2.FEATURE_STATUS_MISSING
    assert len(reply.item_ids) == 5
    assert list(reply.degraded) == []


async def test_restrictions_reach_retrieval_and_seen_items_come_back_on_demand() -> None:
    async with running_stack(gateway=PURE_RELEVANCE) as stack:
        restricted = await stack.stub.Recommend(recommend(k=50, exclude_item_ids=[40], include_genres=["Action"]))
        asked = stack.retrieval.requests["Retrieve"][-1].filter
        everything = await stack.stub.Recommend(recommend(k=50, allow_seen=True))

    assert sorted(asked.exclude_item_ids) == [3, 5, 40]
    assert restricted.item_ids
    assert all(1 in genres_of(item) for item in restricted.item_ids)
    assert sorted(everything.item_ids) == list(range(1, 41))


async def test_an_acknowledged_event_is_in_the_next_recommendation() -> None:
    async with running_stack() as stack:
        before = await stack.stub.Recommend(recommend(k=40))
        written = await stack.stub.RecordEvents(event(stack, 40))
        after = await stack.stub.Recommend(recommend(k=40))
        history = list(stack.ranking.requests["Rank"][-1].history.item_ids)

    assert list(written.written) == [True]
    assert set(before.item_ids) - set(after.item_ids) == {40}
    assert history == [3, 5, 40]


async def test_event_times_are_now_unless_given() -> None:
    async with running_stack() as stack:
        await stack.stub.RecordEvents(event(stack, 1))
        await stack.stub.RecordEvents(event(stack, 2, timestamp_ms=123))
        now, given = (request.timestamps_ms[0] for request in stack.features.requests["WriteEvents"])

    assert given == 123
    assert now > 1_600_000_000_000


async def test_similar_items_come_with_titles() -> None:
    async with running_stack() as stack:
        request = gateway_pb2.SimilarItemsRequest(item_id=1, k=2, filter={"exclude_item_ids": [2]})
        reply = await stack.stub.SimilarItems(request)

    assert list(reply.item_ids) == [3, 4]
    assert list(reply.similarities) == pytest.approx([1.0, 0.5])
    assert list(reply.titles) == ["Movie é 3", "Movie é 4"]
    assert list(reply.degraded) == []


async def test_explain_tells_what_recommend_does() -> None:
    async with running_stack(gateway=PURE_RELEVANCE) as stack:
        answer = await stack.stub.Recommend(recommend(k=2, exclude_item_ids=[38]))
        reply = await stack.stub.Explain(
            gateway_pb2.ExplainRequest(
                user_id=1, k=2, item_ids=[39, 3, 38, 4, 39], filter=gateway_pb2.RecommendFilter(exclude_item_ids=[38])
            )
        )

    second, watched, excluded, low, repeated = reply.items
    assert list(answer.item_ids) == [40, 39]
    assert (second.position, second.score_rank, second.drop_reason) == (2, 2, "")
    assert second == repeated
    assert second.title == "Movie é 39"
    assert {c.channel: c.rank for c in second.channels}[common_pb2.CHANNEL_POPULAR] == 2
    assert (watched.position, watched.score_rank, watched.drop_reason) == (0, 0, "already_watched")
    assert watched.score == pytest.approx(0.03), "scored although not recalled"
    assert excluded.drop_reason == "excluded_items"
    assert (low.position, low.drop_reason) == (0, "")
    assert low.score_rank == 35, "37 are left, and two of them score lower"
    seeds = {c.channel: c.seed_item_id for item in reply.items for c in item.channels}
    assert seeds == {
        common_pb2.CHANNEL_TWO_TOWER: 0,
        common_pb2.CHANNEL_ITEM_TO_ITEM: 3,
        common_pb2.CHANNEL_POPULAR: 0,
        common_pb2.CHANNEL_FRESH: 0,
    }
    assert [(i.item_id, i.title, i.rating) for i in second.influences] == [(5, "Movie é 5", 4), (3, "Movie é 3", 4)]
    assert [i.influence for i in second.influences] == pytest.approx([-0.2, 0.1])


async def test_explain_lists_the_five_largest_effects_of_either_sign() -> None:
    async with running_stack() as stack:
        stack.features.history[1] = [11, 12, 13, 14, 15, 16, 17]
        reply = await stack.stub.Explain(gateway_pb2.ExplainRequest(user_id=1, k=5, item_ids=[1, 2]))
        stack.features.history[1] = [11, 12, 13]
        short = await stack.stub.Explain(gateway_pb2.ExplainRequest(user_id=1, k=5, item_ids=[1]))

    for item in reply.items:
        assert [i.item_id for i in item.influences] == [16, 12, 11, 14, 17]
        assert [i.influence for i in item.influences] == pytest.approx([0.3, -0.2, 0.1, 0.05, 0.02])
    assert [i.item_id for i in short.items[0].influences] == [12, 11], "13 changed nothing"


async def test_explain_says_when_a_limit_of_the_caller_dropped_an_item() -> None:
    async with running_stack() as stack:
        limits = gateway_pb2.RecommendFilter(include_genres=["Action"])
        reply = await stack.stub.Explain(gateway_pb2.ExplainRequest(user_id=0, k=40, item_ids=[10, 6], filter=limits))

    assert [item.drop_reason for item in reply.items] == ["genre_year_limits", ""]
    assert not reply.items[1].influences, "no history, no influences"


async def test_titles_that_were_read_a_moment_ago_need_no_second_read() -> None:
    async with running_stack(gateway=PURE_RELEVANCE, display_cache_seconds=60) as stack:
        first = await stack.stub.Recommend(recommend())
        stack.features.faults["GetItems"] = Fault(silent=True)
        second = await stack.stub.Recommend(recommend())

    assert list(second.titles) == list(first.titles) != [""] * 5
    assert list(second.genres) == list(first.genres)
    assert list(second.degraded) == []
