"""Feature files of a bundle: written by the trainer's publish step, streamed into the feature store by `load`.

users.npz      ids [U] int64, rows [U] user records, event_time_ms: when the values were true
items.npz      ids [I] int64, rows [I] item records, event_time_ms
histories.npz  user_ids [U] int64, lengths [U] int64, records [sum(lengths)] HISTORY_RECORD, oldest first per user
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.errors import BundleError, DataError, error_kind
from recstack.features.schema import HISTORY_RECORD, ITEM, SCHEMA, USER, FeatureSet, encode_title
from recstack.rpc.channel import sync_channel
from recstack.rpc.credentials import Tls

if TYPE_CHECKING:  # the CLI loads features without the libraries that datasets need
    from recstack.data.dataset import Dataset

CHUNK_BYTES = 1024 * 1024
"""Upper bound of a chunk's records and ids."""

_ID_BYTES = 10  # the longest varint


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """What the feature store says it wrote: rows (users and items) and histories."""

    rows: int
    histories: int


@dataclass(frozen=True, slots=True)
class _Rows:
    feature_set: FeatureSet
    ids: NDArray[np.int64]
    rows: NDArray[np.void]
    event_time_ms: int

    def chunks(self) -> Iterator[features_pb2.LoadRequest]:
        step = CHUNK_BYTES // (self.feature_set.record.itemsize + _ID_BYTES)
        for start in range(0, len(self.ids), step):
            part = slice(start, start + step)
            rows = features_pb2.RowChunk(
                feature_set=self.feature_set.name, ids=self.ids[part].tolist(), rows=self.rows[part].tobytes()
            )
            yield features_pb2.LoadRequest(schema_hash=SCHEMA.hash, event_time_ms=self.event_time_ms, rows=rows)


@dataclass(frozen=True, slots=True)
class _Histories:
    user_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    records: NDArray[np.void]
    event_time_ms: int

    def chunks(self) -> Iterator[features_pb2.LoadRequest]:
        ends = np.cumsum(self.lengths)
        sizes = np.cumsum(self.lengths * HISTORY_RECORD.itemsize + 2 * _ID_BYTES)
        first = 0
        while first < len(self.user_ids):
            sent = int(sizes[first - 1]) if first else 0
            # At least one user per chunk: a history longer than a chunk still fits a gRPC message.
            last = max(int(np.searchsorted(sizes, sent + CHUNK_BYTES, side="right")), first + 1)
            begin = int(ends[first - 1]) if first else 0
            histories = features_pb2.HistoryChunk(
                user_ids=self.user_ids[first:last].tolist(),
                lengths=self.lengths[first:last].tolist(),
                records=self.records[begin : int(ends[last - 1])].tobytes(),
            )
            yield features_pb2.LoadRequest(
                schema_hash=SCHEMA.hash, event_time_ms=self.event_time_ms, histories=histories
            )
            first = last


def write_feature_files(folder: Path, dataset: "Dataset", event_time_ms: int | None = None) -> None:
    """Write the feature files of a dataset into the bundle folder `folder`.

    event_time_ms: when profiles and items were true; now, if not given. Events become RATING interactions.
    """
    features = folder / "features"
    features.mkdir(parents=True, exist_ok=True)
    true_at = np.int64(time.time_ns() // 1_000_000 if event_time_ms is None else event_time_ms)
    users, items, events = dataset.users, dataset.items, dataset.events
    user_rows = np.zeros(len(users.ids), USER.record)
    for feature in USER.features:
        user_rows[feature.name] = getattr(users, feature.name)
    item_rows = np.zeros(len(items.ids), ITEM.record)
    item_rows["year"] = items.years
    item_rows["genres"] = items.genres
    item_rows["title"] = [encode_title(title) for title in items.titles]
    by_user = np.argsort(events.user, kind="stable")  # events are in time order, so each user's stay oldest first
    records = np.empty(len(events), HISTORY_RECORD)
    records["item_id"] = items.ids[events.item[by_user]]
    records["timestamp_ms"] = events.timestamp_ms[by_user]
    records["rating"] = events.rating[by_user]
    records["type"] = common_pb2.EVENT_TYPE_RATING
    lengths = np.bincount(events.user, minlength=len(users.ids)).astype(np.int64)
    np.savez(features / "users.npz", ids=users.ids, rows=user_rows, event_time_ms=true_at)
    np.savez(features / "items.npz", ids=items.ids, rows=item_rows, event_time_ms=true_at)
    np.savez(features / "histories.npz", user_ids=users.ids, lengths=lengths, records=records)


def load_bundle_features(
    folder: Path,
    address: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    tls: Tls | None = None,
) -> LoadCounts:
    """Stream the feature files of the bundle in `folder` to the feature store at `address` (host:port).

    Items go first, so that events are accepted as early as possible. on_progress(done, total) counts rows and
    histories handed to gRPC. Raises DataError for missing or malformed files, UnavailableError when the store or
    its Redis is down, BundleError when the store has another feature schema.
    """
    items = _read_rows(folder / "features/items.npz", ITEM)
    users = _read_rows(folder / "features/users.npz", USER)
    histories = _read_histories(folder / "features/histories.npz", users.event_time_ms)
    total = len(items.ids) + len(users.ids) + len(histories.user_ids)

    def chunks() -> Iterator[features_pb2.LoadRequest]:
        done = 0
        for source in (items, users, histories):
            for chunk in source.chunks():
                yield chunk
                done += len(chunk.rows.ids) + len(chunk.histories.user_ids)
                on_progress(done, total)

    with sync_channel(address, tls) as channel:
        try:
            reply = features_pb2_grpc.FeatureStoreServiceStub(channel).Load(chunks())
        except grpc.RpcError as error:
            kind = error_kind(error.code())
            raise kind(f"the feature store at {address} did not take the features: {error.details()}") from error
    return LoadCounts(reply.rows, reply.histories)


def _read_rows(path: Path, feature_set: FeatureSet) -> _Rows:
    columns = _read_npz(path, ("ids", "rows", "event_time_ms"))
    ids, rows = columns["ids"], columns["rows"]
    if rows.dtype != feature_set.record:
        raise BundleError(
            f"{path} has rows of {rows.dtype}, this version of RecStack reads {feature_set.record}; "
            "publish the bundle again with this version"
        )
    if len(ids) != len(rows):
        raise DataError(f"{path} has {len(ids)} ids for {len(rows)} rows; publish the bundle again")
    return _Rows(feature_set, ids, rows, int(columns["event_time_ms"]))


def _read_histories(path: Path, event_time_ms: int) -> _Histories:
    columns = _read_npz(path, ("user_ids", "lengths", "records"))
    user_ids, lengths, records = columns["user_ids"], columns["lengths"].astype(np.int64), columns["records"]
    if records.dtype != HISTORY_RECORD:
        raise BundleError(
            f"{path} has records of {records.dtype}, this version of RecStack reads {HISTORY_RECORD}; "
            "publish the bundle again with this version"
        )
    if len(user_ids) != len(lengths) or lengths.sum() != len(records):
        raise DataError(
            f"{path} has {len(user_ids)} users, {len(lengths)} lengths with sum {lengths.sum()} and {len(records)} "
            "records; publish the bundle again"
        )
    return _Histories(user_ids, lengths, records, event_time_ms)


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as columns:
            return {name: columns[name] for name in names}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; is this the folder of a bundle?") from error
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{path} is not a feature file: {error}; publish the bundle again") from error
