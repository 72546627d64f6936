"""Retrieve of one channel over a catalogue of any size, beside a direct call of faiss with the same index and users.

The retriever is a `SequenceTwoTower` whose item table is the given vectors: its user is near what it met last, moved by
an encoder with random weights, so that users lie among the items as trained ones do, at the cost of a real tower.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import torch
import uvloop
from numpy.typing import NDArray
from rich.console import Console

from recstack.api.common.v1.common_pb2 import Channel, History, UserProfile
from recstack.api.retrieval.v1 import retrieval_pb2 as pb
from recstack.bundle import RETRIEVAL, Bundle, BundleStore
from recstack.config import RetrievalSettings, Settings
from recstack.features.catalogue import Catalogue
from recstack.models.retrieval_index import SAMPLE_QUERIES, load_index, save_index, tune_lists
from recstack.models.retriever import Retriever
from recstack.models.retrievers import load_retriever, save_retriever
from recstack.models.two_tower_sequence import SequenceTwoTower, SequenceTwoTowerConfig
from recstack.rpc.channel import aio_channel
from services.retrieval.app import running_service
from services.retrieval.channels.base import RecallQuery
from services.retrieval.channels.two_tower import TwoTowerChannel
from services.retrieval.item_index import item_index
from tests.bench.harness import Comparison, Sample, interleave
from tests.bench.index_kinds import build
from tests.bench.item_vectors import clustered_items, users_of
from tests.bench.noop_server import Hop, noop_server
from tests.bench.service_process import service_process
from tests.helpers.bundles import write_hollow_bundle, write_users

K, HISTORY, USERS = 100, 50, 100
GOAL = 1.5
RETRIEVE = "/recstack.api.retrieval.v1.RetrievalService/Retrieve"


@dataclass(frozen=True, slots=True)
class Asked:
    """One user: the request, and what its channel is given in the end."""

    request: pb.RetrieveRequest
    query: RecallQuery


def service_comparisons(
    console: Console, items: int, dimensions: int, rounds: int, folder: Path
) -> tuple[list[Comparison], dict[str, Any]]:
    """Start the service over `items` items and time its sides in turn; comparisons, and details for the JSON."""
    items_ID = clustered_items(items, dimensions)
    with TemporaryDirectory(prefix="recstack-bench-") as name:
        settings = Settings(home=Path(name), retrieval=RetrievalSettings(address="127.0.0.1:0", device="cpu"))
        bundle = _publish(BundleStore.of(settings), Path(name) / "work", items_ID, folder)
        asked = [_asked(items, number) for number in range(USERS)]
        with service_process(running_service, settings) as port:
            samples, recall = _measure(bundle, items_ID, asked, port, rounds)
    milliseconds = {side: sample.milliseconds for side, sample in samples.items()}
    p99 = {side: float(np.quantile(sample.seconds, 0.99)) * 1e3 for side, sample in samples.items()}
    console.print(f"Retrieve, {items:,} items, k = {K}: recall@{K} {recall:.4f}")
    console.print("wall ms, p50: " + ", ".join(f"{side} {value:.3f}" for side, value in milliseconds.items()), "")
    what, ours = f"Retrieve, {items:,} items", milliseconds["service"]
    floor = sum(milliseconds[part] for part in ("empty RPC", "user tower", "faiss"))
    return [
        Comparison.over(what, "ms p50", ours, "faiss, same index", milliseconds["faiss"], GOAL),
        Comparison.over(what, "ms p50", ours, "faiss, exact", milliseconds["faiss, exact"]),
        Comparison.over(what, "ms p50", ours, "RPC + tower + faiss", floor),
    ], {"recall@100": recall, "p50 ms": milliseconds, "p99 ms": p99}


def _publish(store: BundleStore, work: Path, items_ID: NDArray[np.float32], folder: Path) -> Bundle:
    write_hollow_bundle(work)
    write_users(work, range(1, USERS + 1))
    items, dimensions = items_ID.shape
    random = np.random.default_rng(0)
    years = random.integers(1930, 2001, items).astype(np.int16)
    genres = random.integers(0, 19, (items, 6)).astype(np.uint8)
    catalogue = Catalogue(np.arange(1, items + 1), years, genres, random.random(items, np.float32))
    catalogue.save(work / "catalogue.npz")
    torch.manual_seed(0)
    model = SequenceTwoTower(SequenceTwoTowerConfig(num_items=items, vector_dim=dimensions))
    with torch.no_grad():
        model.item.weight[1:] = torch.from_numpy(items_ID)
    save_retriever(model, work / RETRIEVAL)
    index = build("lists", items_ID, users_of(items_ID, SAMPLE_QUERIES, seed=2), folder).index
    channel = TwoTowerChannel(model.eval(), catalogue, item_index(index), torch.device("cpu"))
    others = [_asked(items, USERS + number) for number in range(SAMPLE_QUERIES)]
    tune_lists(index, items_ID, _user_vectors(channel, others))
    save_index(index, work / RETRIEVAL / "index.faiss")
    os.link(work / RETRIEVAL / "index.faiss", work / RETRIEVAL / "similar.faiss.new")
    (work / RETRIEVAL / "similar.faiss.new").replace(work / RETRIEVAL / "similar.faiss")
    models = {RETRIEVAL: "two_tower_sequence"}
    version = store.publish(work, dataset="clustered", models=models, rankers={"dien": 1.0}, metrics={}).version
    store.activate(version)
    return store.open(version)


def _asked(items: int, number: int) -> Asked:
    """A user with HISTORY events, all of them excluded from the answer."""
    random = np.random.default_rng(number)
    rows, ratings = random.integers(0, items, HISTORY), random.integers(1, 6, HISTORY).astype(np.float32)
    request = pb.RetrieveRequest(
        profile=UserProfile(gender=1, age=3),
        history=History(item_ids=rows + 1, timestamps_ms=range(1, HISTORY + 1), ratings=ratings),
        channels=[pb.ChannelRequest(channel=Channel.CHANNEL_TWO_TOWER, k=K)],
        filter=pb.ItemFilter(exclude_item_ids=np.unique(rows + 1)),
    )
    return Asked(request, RecallQuery(np.array([1, 3, 0, 0]), rows, ratings))


def _user_vectors(channel: TwoTowerChannel, asked: list[Asked]) -> NDArray[np.float32]:
    return np.stack([channel.user_vector(one.query) for one in asked])


def _measure(
    bundle: Bundle, items_ID: NDArray[np.float32], asked: list[Asked], port: int, rounds: int
) -> tuple[dict[str, Sample], float]:
    index = load_index(bundle.folder / RETRIEVAL / "index.faiss")
    model: Retriever = load_retriever(bundle.folder / RETRIEVAL)
    channel = TwoTowerChannel(model, bundle.catalogue(), item_index(index), torch.device("cpu"))
    users_UD = _user_vectors(channel, asked)
    exact = faiss.IndexFlatIP(items_ID.shape[1])
    exact.add(items_ID)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def connect(to: int) -> Any:
            return aio_channel(f"127.0.0.1:{to}")

        service = runner.run(connect(port))
        retrieve = service.unary_unary(
            RETRIEVE,
            request_serializer=pb.RetrieveRequest.SerializeToString,
            response_deserializer=pb.RetrieveResponse.FromString,
        )

        async def ask(one: Asked) -> pb.RetrieveResponse:
            reply: pb.RetrieveResponse = await retrieve(one.request, timeout=5.0)
            return reply

        replies = [runner.run(ask(one)) for one in asked]
        recall = _recall(replies, items_ID, users_UD, asked)
        with noop_server([Hop("empty", RETRIEVE, asked[0].request, replies[0])]) as empty:
            idle = runner.run(connect(empty.port))
            call = empty.calls(idle)["empty"]

            async def nothing() -> None:
                await call()

            def in_turn(use: Callable[[int], object]) -> Callable[[], None]:
                turn = iter(range(10**9))
                return lambda: void(use(next(turn) % USERS))

            sides = {
                "service": in_turn(lambda user: runner.run(ask(asked[user]))),
                "faiss": in_turn(lambda user: index.search(users_UD[user][None], K)),
                "faiss, exact": in_turn(lambda user: exact.search(users_UD[user][None], K)),
                "empty RPC": in_turn(lambda user: runner.run(nothing())),
                "user tower": in_turn(lambda user: channel.user_vector(asked[user].query)),
            }
            samples = interleave(sides, rounds, warm_up=10)
            runner.run(idle.close())
        runner.run(service.close())
    return samples, recall


def void(_: object) -> None:
    """Drop an answer: a float that a side returns would count as its own reading."""


def _recall(
    replies: list[pb.RetrieveResponse], items_ID: NDArray[np.float32], users_UD: NDArray[np.float32], asked: list[Asked]
) -> float:
    """Share of the exact K nearest, without what each user has seen, that the service answered."""
    found = 0
    for reply, user_D, one in zip(replies, users_UD, asked, strict=True):
        similarities = items_ID @ user_D
        similarities[one.query.history_rows] = -np.inf
        nearest = np.argpartition(-similarities, K)[:K]
        found += len(np.intersect1d(np.array(reply.results[0].item_ids) - 1, nearest))
    return found / (K * len(asked))
