"""Bulk load: checks each chunk whole, then writes it in pipelines: rows replace rows, histories are merged."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2
from recstack.errors import BundleError, InvalidRequestError
from recstack.features.codec import RowCodec
from recstack.features.schema import HISTORY_RECORD, SCHEMA
from recstack.rpc.limits import check_columns, check_range
from services.feature_store import keys
from services.feature_store.connection import RedisClient, redis_errors
from services.feature_store.events import MAX_ID

_MERGE = Path(__file__).with_name("merge_history.lua").read_text()

# One round trip must stay far below the Redis timeout: other callers wait behind it.
_KEYS_PER_ROUND_TRIP = 200
_KEY_OF = {"user": keys.profile, "item": keys.item}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows and histories written."""

    rows: int
    histories: int


class BulkLoader:
    """Writes feature rows, and merges histories into what is stored.

    A repeated load changes nothing, and a load never loses an event that was recorded since its snapshot.
    """

    def __init__(self, redis: RedisClient, address: str, max_history: int) -> None:
        self._redis = redis
        self._address = address
        self._max_history = max_history

    async def load(self, chunks: AsyncIterator[features_pb2.LoadRequest]) -> Loaded:
        """Write all chunks. BundleError for another schema, InvalidRequestError for malformed chunks.

        A refused chunk writes nothing; chunks before it stay written.
        """
        rows = histories = 0
        async for chunk in chunks:
            if chunk.schema_hash != SCHEMA.hash:
                raise BundleError(
                    f"the features have schema {chunk.schema_hash!r}, this server has {SCHEMA.hash!r}; "
                    "publish a bundle with this version of RecStack and load that"
                )
            match chunk.WhichOneof("chunk"):
                case "rows":
                    rows += await self._load_rows(chunk.rows, chunk.event_time_ms)
                case "histories":
                    histories += await self._load_histories(chunk.histories)
                case _:
                    raise InvalidRequestError("a chunk holds neither rows nor histories; set one of them")
        return Loaded(rows, histories)

    async def _load_rows(self, chunk: features_pb2.RowChunk, event_time_ms: int) -> int:
        if chunk.feature_set not in _KEY_OF:
            raise InvalidRequestError(f"feature_set is {chunk.feature_set!r}; it must be one of {sorted(_KEY_OF)}")
        check_range("event_time_ms", event_time_ms, 1, MAX_ID)
        feature_set = SCHEMA.feature_set(chunk.feature_set)
        _check_ids("ids", np.array(chunk.ids, np.int64))
        _check_bytes("rows", chunk.rows, len(chunk.ids), feature_set.record)
        values = RowCodec(SCHEMA, feature_set).encode(np.frombuffer(chunk.rows, feature_set.record), event_time_ms)
        key_of = _KEY_OF[chunk.feature_set]
        await self._write(
            [("SET", key_of(entity_id), value) for entity_id, value in zip(chunk.ids, values, strict=True)]
        )
        return len(values)

    async def _load_histories(self, chunk: features_pb2.HistoryChunk) -> int:
        check_columns(user_ids=chunk.user_ids, lengths=chunk.lengths)
        _check_ids("user_ids", np.array(chunk.user_ids, np.int64))
        lengths = np.array(chunk.lengths, np.int64)
        _check_bytes("records", chunk.records, int(lengths.sum()), HISTORY_RECORD)
        ends = np.cumsum(lengths)
        _check_histories(chunk.records, ends)
        stops = ends * HISTORY_RECORD.itemsize
        starts = stops - np.minimum(lengths, self._max_history) * HISTORY_RECORD.itemsize
        values = [chunk.records[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        await self._write(
            [
                ("EVAL", _MERGE, 1, keys.history(user_id), value, self._max_history)
                for user_id, value in zip(chunk.user_ids, values, strict=True)
            ]
        )
        return len(values)

    async def _write(self, commands: list[tuple[str | bytes | int, ...]]) -> None:
        for start in range(0, len(commands), _KEYS_PER_ROUND_TRIP):
            with redis_errors(self._address):
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for command in commands[start : start + _KEYS_PER_ROUND_TRIP]:
                        pipeline.execute_command(*command)
                    await pipeline.execute()


def _check_ids(field: str, ids: np.ndarray) -> None:
    if (ids < 0).any():
        raise InvalidRequestError(f"{field} holds {ids[ids < 0][0]}; ids must be >= 0")


def _check_bytes(field: str, data: bytes, count: int, record: np.dtype) -> None:
    expected = count * record.itemsize
    if len(data) != expected:
        raise InvalidRequestError(
            f"{field} has {len(data)} bytes; {count} records of {record.itemsize} bytes need {expected}"
        )


def _check_histories(data: bytes, ends: np.ndarray) -> None:
    records = np.frombuffer(data, HISTORY_RECORD)
    goes_back = np.diff(records["timestamp_ms"]) < 0
    goes_back[ends[(ends > 0) & (ends < len(records))] - 1] = False  # a user's first event may precede the last one's
    if goes_back.any():
        raise InvalidRequestError(f"histories must be oldest first; record {int(np.argmax(goes_back)) + 1} goes back")
    valid = (records["item_id"] > 0) & (records["timestamp_ms"] > 0) & (records["rating"] >= 0)
    valid &= (records["rating"] <= 5) & (records["type"] > common_pb2.EVENT_TYPE_IMPRESSION)
    valid &= records["type"] <= common_pb2.EVENT_TYPE_RATING
    if not valid.all():
        raise InvalidRequestError(
            f"history record {int(np.argmin(valid))} is {records[np.argmin(valid)]}; expected item id > 0, time > 0, "
            "rating 0..5 and an event type that is an interaction"
        )
