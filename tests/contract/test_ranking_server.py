"""The ranking contract, against the plain server on a real socket: answers, every error code, swap of bundles."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from recstack.bundle import Bundle, BundleStore
from recstack.config import BundleSettings, RankingSettings, Settings
from recstack.errors import DeadlineError
from recstack.features.schema import SCHEMA
from recstack.models.ranker import Prediction
from recstack.rpc.channel import aio_channel
from services.ranking.scorer import Attribution, RankQuery
from services.ranking.server import SERVICE_NAME, RankingServicer, running_service
from services.ranking.service import BundleScorer, RankingService
from tests.helpers.ranking_bundles import ITEM_IDS, offline_scores, publish_bundle, random_ranker, rank_request

MAX_CANDIDATES = 50


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(str(tmp_path / "home" / "bundles"))


@pytest.fixture
def version(store: BundleStore, tmp_path: Path) -> str:
    """An active bundle."""
    return publish_bundle(store, tmp_path / "work")


def configured(tmp_path: Path, **ranking: int) -> Settings:
    limits = {"max_candidates": MAX_CANDIDATES, "max_attributed_items": 3, "max_history": 30, **ranking}
    return Settings(
        home=tmp_path / "home",
        drain_seconds=1.0,
        bundle=BundleSettings(poll_seconds=0.01),
        ranking=RankingSettings(address="127.0.0.1:0", **limits),
    )


Client = Any  # the generated stub, whose asyncio form has a type for type checkers only


@asynccontextmanager
async def serving(settings: Settings, load: Callable[[Bundle], BundleScorer] | None = None) -> AsyncIterator[Client]:
    async with running_service(settings, load) as server, aio_channel(f"127.0.0.1:{server.port}") as channel:
        yield ranking_pb2_grpc.RankingServiceStub(channel)


@pytest.fixture
async def client(version: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(configured(tmp_path)) as stub:
        yield stub


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the conditions are states of another thread or of the clock
        await asyncio.sleep(0.001)


async def test_rank_returns_the_offline_scores_in_request_order(
    client: Client, store: BundleStore, version: str
) -> None:
    request = rank_request(items=40, steps=25)
    answer = await client.Rank(request)
    np.testing.assert_allclose(answer.scores, offline_scores(store, version, request), atol=1e-6)
    assert answer.bundle_version == version
    assert answer.unknown_items == 0
    assert answer.batch_size == 1
    assert answer.score_kind == common_pb2.SCORE_KIND_LIKE_PROBABILITY
    assert answer.compute_ms > 0
    assert answer.queue_ms >= 0


async def test_a_bundle_that_rates_says_so_and_knows_users_by_id(store: BundleStore, tmp_path: Path) -> None:
    rankers = {"simple_cf": random_ranker("simple_cf")}
    version = await asyncio.to_thread(publish_bundle, store, tmp_path / "rating", rankers=rankers)
    requests = [rank_request(items=10, user_id=user_id) for user_id in (3, 4)]
    async with serving(configured(tmp_path)) as client:
        answers = [await client.Rank(request) for request in requests]
        explained = await client.Attribute(ranking_pb2.AttributeRequest(user_id=3, item_ids=requests[0].item_ids[:3]))
        info = (await client.GetInfo(ranking_pb2.GetInfoRequest())).info
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer.scores, offline_scores(store, version, request), atol=1e-6)
        assert answer.score_kind == common_pb2.SCORE_KIND_RATING
    assert np.abs(np.subtract(answers[0].scores, answers[1].scores)).max() > 1e-3
    np.testing.assert_allclose(explained.scores, answers[0].scores[:3], atol=1e-6)
    assert explained.score_kind == info.bundle.score_kind == common_pb2.SCORE_KIND_RATING


async def test_unknown_items_are_scored_and_counted(client: Client) -> None:
    answer = await client.Rank(ranking_pb2.RankRequest(item_ids=[ITEM_IDS[0], 1_000_001, ITEM_IDS[1], 1_000_002]))
    assert answer.unknown_items == 2
    assert len(answer.scores) == 4
    assert answer.scores[1] == pytest.approx(answer.scores[3], abs=1e-6)


async def test_attribute_agrees_with_rank_before_and_after_an_event_is_left_out(client: Client, version: str) -> None:
    request = rank_request(items=3, steps=7)
    ranked = await client.Rank(request)
    explained = await client.Attribute(
        ranking_pb2.AttributeRequest(profile=request.profile, history=request.history, item_ids=request.item_ids)
    )
    np.testing.assert_allclose(explained.scores, ranked.scores, atol=1e-6)
    assert explained.bundle_version == version
    for column in (request.history.item_ids, request.history.timestamps_ms, request.history.ratings):
        del column[2]
    without = await client.Rank(request)
    influences = np.reshape(explained.influences, (3, 7))
    np.testing.assert_allclose(influences[:, 2], np.subtract(ranked.scores, without.scores), atol=1e-6)
    assert np.abs(influences[:, 2]).max() > 1e-4
    assert not (await client.Attribute(ranking_pb2.AttributeRequest(item_ids=[3]))).influences


async def test_get_info_publishes_versions_and_limits(client: Client, version: str) -> None:
    info = (await client.GetInfo(ranking_pb2.GetInfoRequest())).info
    assert info.service == "recstack.ranking"
    assert info.schema_hash == SCHEMA.hash
    assert info.bundle.version == version
    assert info.bundle.score_kind == common_pb2.SCORE_KIND_LIKE_PROBABILITY
    assert info.limits["max_candidates"] == MAX_CANDIDATES
    assert info.limits["max_attributed_items"] == 3


def history(**columns: Sequence[float]) -> common_pb2.History:
    valid: dict[str, Sequence[float]] = {"item_ids": [3, 6], "timestamps_ms": [1, 2], "ratings": [5, 0]}
    return common_pb2.History(**{**valid, **columns})


BAD_REQUESTS = {
    "negative user": ({"user_id": -1}, "user_id is -1; it must be between 0 and"),
    "no items": ({"item_ids": []}, "item_ids has 0 entries; it must have between 1 and 50"),
    "too many items": ({"item_ids": range(1, 52)}, "item_ids has 51 entries"),
    "negative item": ({"item_ids": [3, -6]}, r"item_ids\[1\] is -6; item ids are positive"),
    "item zero": ({"item_ids": [0]}, r"item_ids\[0\] is 0"),
    "ragged history": ({"history": history(ratings=[5])}, "parallel columns must have one length"),
    "long history": (
        {"history": history(item_ids=[3] * 31, timestamps_ms=[1] * 31, ratings=[0] * 31)},
        "history.item_ids has 31 entries; it must have between 0 and 30",
    ),
    "negative history item": ({"history": history(item_ids=[3, -1])}, r"history.item_ids\[1\] is -1"),
    "newest first": ({"history": history(timestamps_ms=[2, 1])}, r"timestamps_ms\[1\] is 1, earlier .* oldest first"),
    "rating above 5": ({"history": history(ratings=[5, 5.5])}, r"history.ratings\[1\] is 5.5"),
    "rating not a number": ({"history": history(ratings=[float("nan"), 1])}, r"history.ratings\[0\] is nan"),
    "age out of vocabulary": ({"profile": common_pb2.UserProfile(age=8)}, "profile.age is 8; it must be between 0 and"),
}


@pytest.mark.parametrize(("fields", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
async def test_bad_input_costs_one_clear_error(client: Client, fields: dict[str, object], message: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=message) as raised:
        await client.Rank(ranking_pb2.RankRequest(**{"item_ids": [3], **fields}))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len((await client.Rank(rank_request(items=2))).scores) == 2


async def test_attribute_has_a_limit_of_its_own(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="item_ids has 4 entries; it must have between 1 and 3"):
        await client.Attribute(ranking_pb2.AttributeRequest(item_ids=[3, 6, 9, 12]))


async def test_without_a_bundle_it_says_what_to_do_and_serves_once_there_is_one(
    store: BundleStore, tmp_path: Path
) -> None:
    async with running_service(configured(tmp_path)) as server, aio_channel(f"127.0.0.1:{server.port}") as channel:
        client = ranking_pb2_grpc.RankingServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        check = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
        assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError, match=r"no bundle is active in .*recstack train") as raised:
            await client.Rank(rank_request())
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION

        states = health.Watch(check)
        await states.read()
        version = await asyncio.to_thread(publish_bundle, store, tmp_path / "work")
        while (await states.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        assert (await client.Rank(rank_request())).bundle_version == version


class GatedScorer:
    """A scorer that computes only while its gate is open, and fails for the item 666 and while it is cold."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.scored: list[int] = []
        self.warm = False

    def score(self, queries: Sequence[RankQuery]) -> list[NDArray[np.float32]]:
        self.entered.set()
        self.gate.wait()
        self.scored += [int(query.item_ids[0]) for query in queries]
        if 666 in self.scored or not self.warm:
            raise RuntimeError("a detail that is nobody's business")
        return [np.zeros(len(query.item_ids), np.float32) for query in queries]

    def attribution(self, query: RankQuery) -> Attribution:
        return Attribution(query, len(query.history))

    max_history = 50
    prediction = Prediction.LIKE

    def unknown_items(self, item_ids: NDArray[np.int64]) -> int:
        return 0

    def warm_up(self) -> None:
        self.warm = True


@pytest.fixture
def gated() -> GatedScorer:
    return GatedScorer()


@asynccontextmanager
async def serving_gated(gated: GatedScorer, settings: Settings) -> AsyncIterator[tuple[Client, grpc.aio.Call]]:
    """A server whose compute thread is held by a first request, which is yielded too."""
    async with serving(settings, lambda folder: gated) as client:
        try:
            held = client.Rank(ranking_pb2.RankRequest(item_ids=[1]))
            await until(gated.entered.is_set)
            yield client, held
        finally:
            gated.gate.set()


async def test_a_full_queue_is_refused_at_once(gated: GatedScorer, version: str, tmp_path: Path) -> None:
    async with serving_gated(gated, configured(tmp_path, max_queued=1)) as (client, held):
        calls = [asyncio.ensure_future(client.Rank(ranking_pb2.RankRequest(item_ids=[i]))) for i in (2, 3)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().exception()
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 requests are waiting and the limit is 1" in str(refused.details())
        gated.gate.set()
        assert len((await held).scores) == 1
        assert len((await waiting.pop()).scores) == 1


async def test_a_long_attribution_lets_ranks_have_their_turn(
    gated: GatedScorer, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Explain must not hold up Recommend for all of its hundreds of histories."""
    monkeypatch.setattr("services.ranking.scorer.ATTRIBUTION_PAIRS", 1)
    history = common_pb2.History(item_ids=[3, 6], timestamps_ms=[1, 2], ratings=[4, 5])
    async with serving_gated(gated, configured(tmp_path)) as (client, held):
        asked = ranking_pb2.AttributeRequest(item_ids=[7], history=history)
        explained = asyncio.ensure_future(client.Attribute(asked))
        ranked = asyncio.ensure_future(client.Rank(ranking_pb2.RankRequest(item_ids=[8])))
        await client.GetInfo(ranking_pb2.GetInfoRequest())  # sent after them, so they have arrived
        gated.gate.set()
        await asyncio.gather(held, explained, ranked)
        assert sorted(gated.scored) == [1, 7, 7, 7, 8]
        assert gated.scored.index(8) < 4  # not behind all three chunks


async def test_a_request_whose_budget_ran_out_is_not_computed(gated: GatedScorer, version: str, tmp_path: Path) -> None:
    async with serving_gated(gated, configured(tmp_path)) as (client, held):
        late = asyncio.ensure_future(client.Rank(ranking_pb2.RankRequest(item_ids=[2], budget_ms=1)))
        await client.GetInfo(ranking_pb2.GetInfoRequest())  # sent after it, so it has arrived
        over = time.monotonic() + 0.01
        await until(lambda: time.monotonic() > over)
        gated.gate.set()
        with pytest.raises(grpc.aio.AioRpcError, match=r"no time was left after .* ms in the queue") as raised:
            await late
        await held
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gated.scored == [1]


async def test_the_grpc_deadline_counts_too_and_a_client_that_left_is_dropped(
    gated: GatedScorer, version: str, tmp_path: Path
) -> None:
    async with serving_gated(gated, configured(tmp_path)) as (client, held):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.Rank(ranking_pb2.RankRequest(item_ids=[2], budget_ms=60_000), timeout=0.05)
        gone = client.Rank(ranking_pb2.RankRequest(item_ids=[3]))
        await client.GetInfo(ranking_pb2.GetInfoRequest())
        gone.cancel()
        await client.GetInfo(ranking_pb2.GetInfoRequest())
        gated.gate.set()
        await held
        await client.Rank(ranking_pb2.RankRequest(item_ids=[4]))
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gated.scored == [1, 4]


class ExpiredContext:
    """The context of a call whose deadline has just passed, before gRPC cancels it."""

    def time_remaining(self) -> float:
        return 0.0


async def test_the_servicer_passes_the_grpc_deadline_on(gated: GatedScorer, version: str, tmp_path: Path) -> None:
    gated.gate.set()
    service = RankingService(configured(tmp_path), lambda folder: gated)
    await service.start()
    try:
        servicer: Any = RankingServicer(service)
        with pytest.raises(DeadlineError):
            await servicer.Rank(rank_request(), ExpiredContext())
        with pytest.raises(DeadlineError):
            await servicer.Attribute(ranking_pb2.AttributeRequest(item_ids=[3]), ExpiredContext())
    finally:
        await service.stop()
    assert not gated.scored


async def test_an_unexpected_error_shows_no_internals(gated: GatedScorer, version: str, tmp_path: Path) -> None:
    gated.gate.set()
    async with serving(configured(tmp_path), lambda folder: gated) as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.Rank(ranking_pb2.RankRequest(item_ids=[666]))
    assert raised.value.code() == grpc.StatusCode.INTERNAL
    told = f"internal error in /{SERVICE_NAME}/Rank; see the server's log for request "
    assert raised.value.details().startswith(told)
    assert re.fullmatch(r"[0-9a-f]{32}", raised.value.details().removeprefix(told))


async def test_bundles_are_swapped_under_load_without_a_failed_request(
    store: BundleStore, version: str, tmp_path: Path
) -> None:
    request = rank_request(items=20)
    seen: list[ranking_pb2.RankResponse] = []
    newer = ""

    async def load(client: Client) -> None:
        while not newer or not seen or seen[-1].bundle_version != newer:
            seen.append(await client.Rank(request))

    async with serving(configured(tmp_path)) as client:
        workers = [asyncio.create_task(load(client)) for _ in range(4)]
        await until(lambda: len(seen) > 10)
        newer = await asyncio.to_thread(publish_bundle, store, tmp_path / "newer", 1)
        await asyncio.gather(*workers)
    offline = {name: offline_scores(store, name, request) for name in (version, newer)}
    assert {answer.bundle_version for answer in seen} == {version, newer}
    for answer in seen:
        np.testing.assert_allclose(answer.scores, offline[answer.bundle_version], atol=1e-6)
    assert np.abs(offline[version] - offline[newer]).max() > 0.01


async def test_a_corrupt_bundle_is_refused_and_the_old_one_serves_on(
    client: Client, store: BundleStore, version: str, tmp_path: Path
) -> None:
    broken = await asyncio.to_thread(publish_bundle, store, tmp_path / "broken", 1, spoil=True)
    while not (info := (await client.GetInfo(ranking_pb2.GetInfoRequest())).info).bundle.last_refusal:
        pass
    assert broken in info.bundle.last_refusal
    assert "corrupt" in info.bundle.last_refusal
    assert info.bundle.version == version
    assert (await client.Rank(rank_request())).bundle_version == version
