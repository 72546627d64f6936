"""What the feature store's tests share: a running service on loopback, and short ways to build requests."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.config import FeatureStoreSettings, Settings, TtlSettings
from recstack.features.schema import ITEM, SCHEMA, USER, encode_title
from recstack.rpc.channel import aio_channel
from services.feature_store.app import running
from services.feature_store.store import epoch_ms

IMPRESSION = common_pb2.EVENT_TYPE_IMPRESSION
CLICK = common_pb2.EVENT_TYPE_CLICK
WATCH = common_pb2.EVENT_TYPE_WATCH
RATING = common_pb2.EVENT_TYPE_RATING


@dataclass(frozen=True, slots=True)
class StoreUnderTest:
    """A running service: its address, a channel and a stub."""

    address: str
    channel: grpc.aio.Channel
    stub: Any


@asynccontextmanager
async def running_store(
    redis_url: str,
    clock: Callable[[], int] = epoch_ms,
    ttl: TtlSettings | None = None,
    **limits: Any,
) -> AsyncIterator[StoreUnderTest]:
    """The service on a free port, over the Redis at `redis_url`. `limits` go into FeatureStoreSettings."""
    settings = Settings(
        redis_url=redis_url,
        drain_seconds=0,
        ttl=ttl or TtlSettings(),
        feature_store=FeatureStoreSettings(
            **{"address": "127.0.0.1:0", "redis_timeout_ms": 5000} | limits  # a busy test machine is slow
        ),
    )
    async with running(settings, clock) as server:
        address = f"127.0.0.1:{server.port}"
        async with aio_channel(address) as channel:
            yield StoreUnderTest(address, channel, features_pb2_grpc.FeatureStoreServiceStub(channel))


def item_chunk(ids: Sequence[int], event_time_ms: int = 1_000, schema_hash: str = SCHEMA.hash) -> Any:
    """A load chunk with one item row per id: year 1900 + id % 100, genre 1 + id % 18, title 'Item <id>'."""
    rows = np.zeros(len(ids), ITEM.record)
    rows["year"] = [1900 + item_id % 100 for item_id in ids]
    rows["genres"][:, 0] = [1 + item_id % 18 for item_id in ids]
    rows["title"] = [encode_title(f"Item {item_id}") for item_id in ids]
    chunk = features_pb2.RowChunk(feature_set="item", ids=ids, rows=rows.tobytes())
    return features_pb2.LoadRequest(schema_hash=schema_hash, event_time_ms=event_time_ms, rows=chunk)


def user_chunk(user_id: int, profile: tuple[int, int, int, int], event_time_ms: int = 1_000) -> Any:
    """A load chunk with one user row."""
    rows = np.array([profile], USER.record)
    chunk = features_pb2.RowChunk(feature_set="user", ids=[user_id], rows=rows.tobytes())
    return features_pb2.LoadRequest(schema_hash=SCHEMA.hash, event_time_ms=event_time_ms, rows=chunk)


async def load(store: StoreUnderTest, *chunks: Any) -> Any:
    """Load chunks in one call."""
    return await store.stub.Load(iter(chunks))


def write_request(user_id: int, *events: tuple[str, int, int, int, float]) -> Any:
    """A WriteEventsRequest from (event id, type, item id, timestamp, rating) tuples."""
    event_ids, types, item_ids, timestamps_ms, ratings = zip(*events, strict=True) if events else ((),) * 5
    return features_pb2.WriteEventsRequest(
        user_id=user_id,
        event_ids=event_ids,
        types=types,
        item_ids=item_ids,
        timestamps_ms=timestamps_ms,
        ratings=ratings,
    )


async def history_of(store: StoreUnderTest, user_id: int, length: int = 4096) -> list[tuple[int, int, float]]:
    """(item id, timestamp, rating) of the last `length` interactions."""
    reply = await store.stub.GetUser(features_pb2.GetUserRequest(user_id=user_id, history_length=length))
    return list(zip(reply.history.item_ids, reply.history.timestamps_ms, reply.history.ratings, strict=True))
