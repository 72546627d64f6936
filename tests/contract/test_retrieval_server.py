"""The retrieval contract over real gRPC: answers, every refusal with its words, bundles that come, go and break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recstack.api.common.v1.common_pb2 import Channel, History, UserProfile
from recstack.api.retrieval.v1 import retrieval_pb2 as pb
from recstack.api.retrieval.v1.retrieval_pb2_grpc import RetrievalServiceStub
from recstack.bundle import BundleStore
from recstack.config import BundleSettings, RetrievalSettings, Settings
from recstack.features import batch
from recstack.rpc.channel import aio_channel
from services.retrieval.app import running_service
from services.retrieval.engine import RetrievalEngine
from services.retrieval.item_filter import ItemFilter
from tests.helpers.retrieval_world import publish_bundle

ITEMS = 150
CHANNELS = (
    Channel.CHANNEL_TWO_TOWER,
    Channel.CHANNEL_ITEM_TO_ITEM,
    Channel.CHANNEL_POPULAR,
    Channel.CHANNEL_FRESH,
    Channel.CHANNEL_COLD_START,
)


@dataclass(frozen=True)
class Service:
    """A running service: its stub, its health, and the store that it follows."""

    stub: RetrievalServiceStub
    health: health_pb2_grpc.HealthStub
    store: BundleStore

    async def status(self) -> int:
        return (await self.health.Check(health_pb2.HealthCheckRequest())).status

    async def info(self) -> pb.GetInfoResponse:
        return await self.stub.GetInfo(pb.GetInfoRequest())


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Service]:
    settings = Settings(
        home=folder,
        bundle=BundleSettings(poll_seconds=0.02),
        retrieval=RetrievalSettings(address="127.0.0.1:0", max_k=100, max_history=30),
        drain_seconds=0.1,
    )
    store = BundleStore(settings.bundle_store)
    async with running_service(settings) as server, aio_channel(f"127.0.0.1:{server.port}") as channel:
        yield Service(RetrievalServiceStub(channel), health_pb2_grpc.HealthStub(channel), store)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    publish_bundle(BundleStore(str(tmp_path / "bundles")), tmp_path / "work", ITEMS, seed=1)
    async with running(tmp_path) as running_one:
        yield running_one


def engine_of(store: BundleStore, version: str) -> RetrievalEngine:
    return RetrievalEngine.load(store.open(version))


def retrieve_request(item_ids: list[int], k: int = 20, **fields: object) -> pb.RetrieveRequest:
    """All channels, for a user who rated `item_ids` with 5."""
    count = len(item_ids)
    history = History(item_ids=item_ids, timestamps_ms=range(1, count + 1), ratings=[5.0] * count)
    channels = [pb.ChannelRequest(channel=channel, k=k) for channel in CHANNELS]
    return pb.RetrieveRequest(**{"history": history, "channels": channels, **fields})


async def refusal(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""


async def test_the_answer_is_the_engines_with_provenance(service: Service) -> None:
    version = service.store.active() or ""
    engine = engine_of(service.store, version)
    ids = service.store.open(version).catalogue().ids[:6].tolist()
    reply = await service.stub.Retrieve(
        retrieve_request([*ids, 10**9], filter=pb.ItemFilter(exclude_item_ids=ids), profile=UserProfile(age=3))
    )
    assert [result.channel for result in reply.results] == list(CHANNELS)
    assert reply.bundle_version == version
    assert reply.unknown_history_items == 1
    history = batch.History(
        np.array([*ids, 10**9], np.int64), np.arange(1, 8, dtype=np.int64), np.full(7, 5, np.float32)
    )
    expected = engine.retrieve(
        np.array([0, 3, 0, 0], np.int64),
        history,
        [(channel, 20) for channel in CHANNELS],
        ItemFilter(np.array(ids, np.int64), (), (), 0, 0),
    )
    for got, want in zip(reply.results, expected.results, strict=True):
        assert got.error == ""
        assert list(got.item_ids) == want.item_ids.tolist()
        np.testing.assert_allclose(got.scores, want.scores, rtol=1e-5)
        assert not set(got.item_ids) & set(ids)
    seeds = reply.results[1].seed_item_ids
    assert set(seeds) <= set(ids)
    assert len(seeds) == len(reply.results[1].item_ids)


async def test_a_new_user_is_recalled_by_all_but_item_to_item(service: Service) -> None:
    reply = await service.stub.Retrieve(retrieve_request([]))
    assert [len(result.item_ids) for result in reply.results] == [20, 0, 20, 20, 0]
    assert all(result.error == "" for result in reply.results)


async def test_a_large_catalogue_is_answered_from_lists_in_the_same_words(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "bundles"))
    version = publish_bundle(store, tmp_path / "work", ITEMS, lists=True)
    assert engine_of(store, version).large
    ids = store.open(version).catalogue().ids[:6].tolist()
    async with running(tmp_path) as service:
        reply = await service.stub.Retrieve(
            retrieve_request(ids, filter=pb.ItemFilter(exclude_item_ids=ids)), timeout=30
        )
        code, _ = await refusal(service.stub.SimilarItems(pb.SimilarItemsRequest(item_id=10**9, k=5)))
    assert [(len(result.item_ids), result.error) for result in reply.results] == [(20, "")] * 4 + [(0, "")]
    assert not {item for result in reply.results for item in result.item_ids} & set(ids)
    assert code == grpc.StatusCode.NOT_FOUND


async def test_similar_items_leave_out_the_item_itself(service: Service) -> None:
    item = int(service.store.open(service.store.active() or "").catalogue().ids[3])
    reply = await service.stub.SimilarItems(pb.SimilarItemsRequest(item_id=item, k=10))
    assert len(reply.item_ids) == 10
    assert item not in reply.item_ids
    assert list(reply.similarities) == sorted(reply.similarities, reverse=True)


POPULAR = [pb.ChannelRequest(channel=Channel.CHANNEL_POPULAR, k=5)]
BAD_REQUESTS = {
    "no channel": (pb.RetrieveRequest(), "channels is empty"),
    "channel unset": (pb.RetrieveRequest(channels=[pb.ChannelRequest(k=5)]), "the channels are CHANNEL_TWO_TOWER"),
    "channel twice": (pb.RetrieveRequest(channels=POPULAR * 2), "CHANNEL_POPULAR twice"),
    "k of 0": (retrieve_request([], k=0), "k of CHANNEL_TWO_TOWER is 0; it must be between 1 and 100"),
    "k above the limit": (retrieve_request([], k=101), "is 101; it must be between 1 and 100"),
    "history too long": (retrieve_request(list(range(1, 32))), "31 entries; it must have between 0 and 30"),
    "columns differ": (
        pb.RetrieveRequest(channels=POPULAR, history=History(item_ids=[1, 2], timestamps_ms=[1], ratings=[1, 1])),
        "parallel columns must have one length",
    ),
    "negative item": (retrieve_request([-4]), "history.item_ids[0] is -4; item ids are positive"),
    "history goes back": (
        pb.RetrieveRequest(channels=POPULAR, history=History(item_ids=[1, 2], timestamps_ms=[2, 1], ratings=[1, 1])),
        "send the history oldest first",
    ),
    "rating of 6": (
        pb.RetrieveRequest(channels=POPULAR, history=History(item_ids=[1], timestamps_ms=[1], ratings=[6])),
        "history.ratings[0] is 6",
    ),
    "unknown age": (retrieve_request([], profile=UserProfile(age=8)), "profile.age is 8"),
    "unknown genre": (retrieve_request([], filter=pb.ItemFilter(include_genres=[19])), "include_genres is 19"),
    "years crossed": (retrieve_request([], filter=pb.ItemFilter(min_year=2000, max_year=1990)), "swap them"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_bad_input_is_refused_in_words(service: Service, case: str) -> None:
    request, words = BAD_REQUESTS[case]
    code, details = await refusal(service.stub.Retrieve(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert words in details


async def test_an_unknown_item_has_no_neighbours(service: Service) -> None:
    code, details = await refusal(service.stub.SimilarItems(pb.SimilarItemsRequest(item_id=10**9, k=5)))
    assert code == grpc.StatusCode.NOT_FOUND
    assert "item 1000000000 is not in bundle" in details


async def test_without_a_bundle_it_runs_says_what_to_do_and_recovers(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        assert await service.status() == health_pb2.HealthCheckResponse.NOT_SERVING
        code, details = await refusal(service.stub.Retrieve(retrieve_request([])))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "recstack train" in details
        publish_bundle(service.store, tmp_path / "work", ITEMS)
        while await service.status() != health_pb2.HealthCheckResponse.SERVING:
            pass  # each look is a call over the wire
        assert (await service.stub.Retrieve(retrieve_request([]))).bundle_version == service.store.active()


async def test_a_bundle_that_does_not_fit_together_is_refused_and_the_old_one_serves(
    service: Service, tmp_path: Path
) -> None:
    good = service.store.active()
    publish_bundle(service.store, tmp_path / "bad", ITEMS, seed=2, index_items=ITEMS - 1)
    while not (info := (await service.info()).info.bundle).last_refusal:
        pass  # each look is a call over the wire
    assert info.version == good
    assert "does not fit together" in info.last_refusal
    assert (await service.stub.Retrieve(retrieve_request([]))).bundle_version == good


async def test_a_swap_under_load_fails_no_call_and_mixes_no_bundles(service: Service, tmp_path: Path) -> None:
    first = service.store.active() or ""
    second = publish_bundle(service.store, tmp_path / "second", ITEMS, seed=7)
    expected = {
        version: engine_of(service.store, version)
        .retrieve(np.zeros(4, np.int64), batch.EMPTY_HISTORY, [(Channel.CHANNEL_TWO_TOWER, 20)])
        .results[0]
        .item_ids.tolist()
        for version in (first, second)
    }
    assert expected[first] != expected[second]
    answered: set[str] = set()

    async def ask_until_swapped() -> None:
        while second not in answered:
            reply = await service.stub.Retrieve(retrieve_request([]))
            assert list(reply.results[0].item_ids) == expected[reply.bundle_version]
            answered.add(reply.bundle_version)

    await asyncio.wait_for(asyncio.gather(*(ask_until_swapped() for _ in range(8))), timeout=60)
