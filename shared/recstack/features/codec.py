"""The row codec: one packed value per stored row, read as numpy views without parsing.

A stored row is `fingerprint u8 | event_time_ms i8 | the feature set's record`, little-endian, no padding. The
fingerprint is the schema hash: bytes written under another schema are recognised, never misread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recstack.api.common.v1 import common_pb2
from recstack.errors import BundleError
from recstack.features.schema import FeatureSet, Schema

PRESENT = int(common_pb2.FEATURE_STATUS_PRESENT)
MISSING = int(common_pb2.FEATURE_STATUS_MISSING)
STALE = int(common_pb2.FEATURE_STATUS_STALE)


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """Rows in the order they were asked for.

    rows [N]: the feature set's record; all zeros where MISSING. Read-only. statuses [N] uint8: FeatureStatus.
    event_times_ms [N] int64: when the row was true; 0 where MISSING.
    """

    rows: NDArray[np.void]
    statuses: NDArray[np.uint8]
    event_times_ms: NDArray[np.int64]


class RowCodec:
    """Packs and unpacks the rows of one feature set of one schema.

    ttl_ms: a row older than this is STALE when read, and keeps its value; 0 means rows never go stale.
    """

    def __init__(self, schema: Schema, feature_set: FeatureSet, ttl_ms: int = 0) -> None:
        self.feature_set = feature_set
        self._schema_hash = schema.hash
        self._fingerprint = np.uint64(int(schema.hash, 16))
        self._ttl_ms = ttl_ms
        self._stored = np.dtype([("fingerprint", "<u8"), ("event_time_ms", "<i8"), ("row", feature_set.record)])
        self._blank = bytes(self._stored.itemsize)

    def encode(self, rows: NDArray[np.void], event_time_ms: int) -> list[bytes]:
        """One stored value per row of `rows` [N] (the feature set's record), all true at `event_time_ms`."""
        stored = np.empty(len(rows), self._stored)
        stored["fingerprint"] = self._fingerprint
        stored["event_time_ms"] = event_time_ms
        stored["row"] = rows
        packed, size = stored.tobytes(), self._stored.itemsize
        return [packed[start : start + size] for start in range(0, len(packed), size)]

    def decode(self, values: Sequence[bytes | None], now_ms: int) -> DecodedRows:
        """Stored values (None = not stored) as columns. BundleError when a value is of another schema."""
        missing = np.fromiter((value is None for value in values), bool, len(values))
        packed = b"".join([self._blank if value is None else value for value in values])
        # A value of the wrong length shifts everything after it, so it fails one of these two checks.
        if len(packed) != len(values) * self._stored.itemsize:
            raise self._other_schema()
        stored = np.frombuffer(packed, self._stored)
        if not np.all((stored["fingerprint"] == self._fingerprint) | missing):
            raise self._other_schema()
        event_times_ms = stored["event_time_ms"]
        statuses = np.where(missing, MISSING, PRESENT).astype(np.uint8)
        if self._ttl_ms:
            statuses[~missing & (now_ms - event_times_ms > self._ttl_ms)] = STALE
        return DecodedRows(stored["row"], statuses, event_times_ms)

    def _other_schema(self) -> BundleError:
        return BundleError(
            f"Redis holds {self.feature_set.name!r} rows of another feature schema; this server expects schema "
            f"{self._schema_hash}; load the features of the active bundle again"
        )
