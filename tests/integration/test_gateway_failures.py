"""What the gateway answers when backends are slow, broken or gone."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.config import GatewaySettings
from recstack.errors import OverloadedError
from tests.helpers.gateway_stack import Fault, genres_of, running_stack, wait_until_serving

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def recommend(user_id: int = 1, k: int = 5, **limits: object) -> gateway_pb2.RecommendRequest:
    return gateway_pb2.RecommendRequest(user_id=user_id, k=k, filter=gateway_pb2.RecommendFilter(**limits))


async def test_slow_ranking_gives_recall_order_within_the_callers_deadline() -> None:
    async with running_stack() as stack:
        fault = stack.ranking.faults["Rank"] = Fault(silent=True)
        reply = await stack.stub.Recommend(recommend(), timeout=2.0)
        await fault.cancelled.wait()

    assert len(reply.item_ids) == 5
    assert reply.titles[0].startswith("Movie"), "time was left for what comes after ranking"
    assert len(reply.degraded) == 1
    assert reply.degraded[0].startswith("ranking: deadline exceeded after ")
    assert reply.degraded[0].endswith(" ms; recall order used")
    assert dict(reply.bundle_versions) == {"retrieval": "r1"}


@pytest.mark.parametrize(
    ("backend", "rpc", "component"),
    [
        ("features", "GetUser", "user_features"),
        ("retrieval", "Retrieve", "recall"),
        ("features", "GetItems", "display"),
    ],
)
async def test_any_other_slow_hop_is_cut_off_in_time_too(backend: str, rpc: str, component: str) -> None:
    async with running_stack() as stack:
        getattr(stack, backend).faults[rpc] = Fault(silent=True)
        reply = await stack.stub.Recommend(recommend(), timeout=2.0)

    assert len(reply.item_ids) == 5
    (degraded,) = reply.degraded
    assert degraded.startswith(f"{component}: deadline exceeded after ")


async def test_everything_slow_is_still_an_answer() -> None:
    async with running_stack() as stack:
        stack.features.faults = {"GetUser": Fault(silent=True), "GetItems": Fault(silent=True)}
        stack.retrieval.faults["Retrieve"] = Fault(silent=True)
        stack.ranking.faults["Rank"] = Fault(silent=True)
        reply = await stack.stub.Recommend(recommend(), timeout=4.0)

    assert len(reply.item_ids) == 5
    assert [line.split(":")[0] for line in reply.degraded] == ["user_features", "recall", "ranking", "display"]


async def test_overloaded_ranking_gives_recall_order_at_once() -> None:
    async with running_stack() as stack:
        stack.ranking.faults["Rank"] = Fault(error=OverloadedError("128 requests are waiting"))
        reply = await stack.stub.Recommend(recommend())

    assert list(reply.degraded) == ["ranking: 128 requests are waiting; recall order used"]
    assert len(reply.item_ids) == 5


async def test_retrieval_gone_gives_cached_popular_items_without_seen_ones() -> None:
    async with running_stack(gateway=GatewaySettings(diversity=0)) as stack:
        await stack.stop("retrieval")
        reply = await stack.stub.Recommend(recommend(k=50, exclude_item_ids=[40]))

    assert sorted(reply.item_ids) == [i for i in range(1, 40) if i not in (3, 5)]
    assert set(reply.channel_masks) == {1 << common_pb2.CHANNEL_POPULAR - 1}
    assert reply.scores[0] == pytest.approx(0.39), "the ranker still ranks"
    (degraded,) = reply.degraded
    assert degraded.startswith("recall: retrieval at 127.0.0.1:")
    assert degraded.endswith("cached popular items used")


async def test_cached_popular_items_keep_the_callers_limits() -> None:
    async with running_stack() as stack:
        await stack.stop("retrieval")
        limited = await stack.stub.Recommend(recommend(k=50, include_genres=["Action"]))
        await stack.stop("features")
        unknown = await stack.stub.Recommend(recommend(k=50, include_genres=["Action"]))

    assert sorted(limited.item_ids) == [i for i in range(1, 41) if 1 in genres_of(i) and i not in (3, 5)]
    assert list(unknown.item_ids) == [], "nothing can be shown to keep the limit"
    assert any("items of unknown genre and year left out" in line for line in unknown.degraded)


async def test_feature_store_gone_gives_a_cold_answer_that_says_so() -> None:
    async with running_stack() as stack:
        await stack.stop("features")
        reply = await stack.stub.Recommend(recommend())

    assert len(reply.item_ids) == 5
    assert reply.cold_start
    assert reply.profile_status == common_pb2.FEATURE_STATUS_UNSPECIFIED
    assert list(reply.titles) == [""] * 5
    user, display = reply.degraded
    assert "user treated as new, items already watched may come back" in user
    assert "titles, years and genres left out" in display


async def test_everything_gone_is_unavailable_and_names_who_failed() -> None:
    async with running_stack(down=("features", "retrieval", "ranking"), ready=False) as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.stub.Recommend(recommend(), timeout=10)

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    for name in ("feature store at ", "retrieval at ", "popular_cache: empty"):
        assert name in failed.value.details()


async def test_one_failed_channel_is_named_and_the_others_answer() -> None:
    async with running_stack() as stack:
        stack.retrieval.channel_errors = {common_pb2.CHANNEL_TWO_TOWER: "no user vector"}
        reply = await stack.stub.Recommend(recommend())

    assert list(reply.degraded) == ["recall/two_tower: no user vector; the other channels were used"]
    assert len(reply.item_ids) == 5
    assert not any(mask & 1 for mask in reply.channel_masks)


async def test_all_channels_failed_gives_cached_popular_items() -> None:
    async with running_stack() as stack:
        stack.retrieval.channel_errors = dict.fromkeys(range(1, 5), "broken")
        reply = await stack.stub.Recommend(recommend())

    (degraded,) = reply.degraded
    assert degraded.startswith("recall: no channel brought anything (two_tower: broken; ")
    assert len(reply.item_ids) == 5


async def test_every_hop_gets_a_part_of_the_callers_deadline() -> None:
    async with running_stack(gateway=GatewaySettings(reserve_ms=1000)) as stack:
        await stack.stub.Recommend(recommend(), timeout=11)
        left = {**stack.features.time_left, **stack.retrieval.time_left, **stack.ranking.time_left}
        budget_ms = stack.ranking.requests["Rank"][-1].budget_ms

    # gRPC rounds deadlines up, by up to 1 % a hop.
    assert 0 < left["GetUser"] <= 0.3 * 10 * 1.05
    assert 0 < left["Retrieve"] <= 0.5 * 10 * 1.05
    assert 0 < left["Rank"] <= 0.8 * 10 * 1.05
    assert 0 < left["GetItems"] <= 0.7 * 10 * 1.05
    assert 0 < budget_ms <= 8000 * 1.05


async def test_without_a_deadline_the_configured_one_holds() -> None:
    async with running_stack(gateway=GatewaySettings(deadline_ms=5000, reserve_ms=0)) as stack:
        await stack.stub.Recommend(recommend())

    assert 2.5 < stack.retrieval.time_left["Retrieve"] + 0.5 <= 3.1


@pytest.mark.parametrize(("backend", "rpc"), [("features", "GetUser"), ("retrieval", "Retrieve"), ("ranking", "Rank")])
async def test_a_caller_who_leaves_cancels_the_hop(backend: str, rpc: str) -> None:
    async with running_stack() as stack:
        fault = getattr(stack, backend).faults[rpc] = Fault(silent=True)
        call = stack.stub.Recommend(recommend(), timeout=60)
        await asyncio.wait_for(fault.reached.wait(), 10)
        call.cancel()
        await asyncio.wait_for(fault.cancelled.wait(), 10)

    assert call.cancelled()


async def test_similar_items_without_the_feature_store_have_no_titles() -> None:
    async with running_stack() as stack:
        await stack.stop("features")
        reply = await stack.stub.SimilarItems(gateway_pb2.SimilarItemsRequest(item_id=1, k=2))

    assert list(reply.item_ids) == [2, 3]
    assert list(reply.titles) == ["", ""]
    assert "titles, years and genres left out" in reply.degraded[0]


async def test_explain_without_ranking_still_explains() -> None:
    async with running_stack() as stack:
        await stack.stop("ranking")
        reply = await stack.stub.Explain(gateway_pb2.ExplainRequest(user_id=1, k=5, item_ids=[1]))

    assert reply.items[0].channels
    assert not reply.items[0].influences
    assert [line.split(":")[0] for line in reply.degraded] == ["ranking", "influences"]


@pytest.mark.parametrize(
    ("backend", "rpc", "consequence"),
    [("ranking", "Attribute", "left out"), ("features", "GetItems", "titles left out")],
)
async def test_explain_waits_for_influences_only_so_long(backend: str, rpc: str, consequence: str) -> None:
    async with running_stack() as stack:
        getattr(stack, backend).faults[rpc] = Fault(silent=True)
        request = gateway_pb2.ExplainRequest(user_id=1, k=5, item_ids=[1])
        reply = await stack.stub.Explain(request, timeout=2.0)

    assert reply.items[0].score_rank == 38
    assert reply.degraded[-1].startswith("influences: ")
    assert reply.degraded[-1].endswith(f"did not answer in time; {consequence}")


async def test_similar_items_wait_for_titles_only_so_long() -> None:
    async with running_stack() as stack:
        stack.features.faults["GetItems"] = Fault(silent=True)
        reply = await stack.stub.SimilarItems(gateway_pb2.SimilarItemsRequest(item_id=1, k=2), timeout=2.0)

    assert list(reply.item_ids) == [2, 3]
    assert len(reply.degraded) == 1


async def test_get_info_leaves_out_who_is_silent() -> None:
    async with running_stack() as stack:
        stack.ranking.faults["GetInfo"] = Fault(silent=True)
        reply = await stack.stub.GetInfo(gateway_pb2.GetInfoRequest(), timeout=2.0)

    assert [backend.service for backend in reply.backends] == ["recstack.feature_store", "recstack.retrieval"]


async def test_events_are_not_acknowledged_when_the_feature_store_is_gone() -> None:
    async with running_stack() as stack:
        await stack.stop("features")
        request = gateway_pb2.RecordEventsRequest(
            user_id=1,
            event_ids=["a"],
            types=[common_pb2.EVENT_TYPE_CLICK],
            item_ids=[1],
            timestamps_ms=[0],
            ratings=[0],
        )
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stack.stub.RecordEvents(request)

    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert failed.value.details().startswith("feature store at 127.0.0.1:")


async def test_starts_without_backends_and_recovers_by_itself() -> None:
    async with running_stack(down=("retrieval",), ready=False) as stack:
        health = health_pb2_grpc.HealthStub(stack.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING

        await stack.start_backend("retrieval", f"127.0.0.1:{stack.servers['retrieval'].port}")
        await asyncio.wait_for(wait_until_serving(stack.channel), 30)
        recovered = await stack.stub.Recommend(recommend())
        assert list(recovered.degraded) == []

        await stack.stop("retrieval")
        await stack.stub.Recommend(recommend())
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING, "it can still answer"
