"""The gRPC face of the feature store: check limits, call the store, map to protobuf. No logic of its own."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

import recstack
from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.config import FeatureStoreSettings
from recstack.errors import InvalidRequestError
from recstack.features.read_plan import compile_plans
from recstack.features.schema import PROFILE_SIZES, SCHEMA
from recstack.metrics import FEATURE_ROWS, REDIS_SECONDS, label_values
from recstack.rpc.limits import check_count, check_range
from services.feature_store.bulk_loader import BulkLoader
from services.feature_store.event_writer import EventWriter
from services.feature_store.events import MAX_EVENT_ID_BYTES, check_item_ids, check_user_id, event_batch
from services.feature_store.store import FeatureStore, epoch_ms

STATUS_NAMES = label_values(common_pb2.FeatureStatus)
SERVICE = features_pb2.DESCRIPTOR.services_by_name["FeatureStoreService"].full_name


class FeatureStoreServicer(features_pb2_grpc.FeatureStoreServiceServicer):
    """FeatureStoreService over a store, a writer and a loader. Errors are raised; the interceptor maps them."""

    def __init__(
        self,
        store: FeatureStore,
        writer: EventWriter,
        loader: BulkLoader,
        limits: FeatureStoreSettings,
        clock: Callable[[], int] = epoch_ms,
    ) -> None:
        self._store = store
        self._writer = writer
        self._loader = loader
        self._limits = limits
        self._clock = clock
        self._plans = compile_plans(SCHEMA)

    async def GetUser(self, request: features_pb2.GetUserRequest, context: Any) -> features_pb2.GetUserResponse:
        """One user: profile, recent history, everything seen."""
        check_user_id(request.user_id)
        check_range("history_length", request.history_length, 0, self._limits.max_history)
        user = await self._store.user(request.user_id)
        row = user.profile.rows[0]
        FEATURE_ROWS.labels("user", STATUS_NAMES[int(user.profile.statuses[0])]).inc()
        REDIS_SECONDS.labels("user").observe(user.redis_ms / 1e3)
        recent = user.history[len(user.history) - min(request.history_length, len(user.history)) :]
        return features_pb2.GetUserResponse(
            profile=common_pb2.UserProfile(**{name: int(row[name]) for name in PROFILE_SIZES}),
            profile_status=common_pb2.FeatureStatus.ValueType(user.profile.statuses[0]),
            profile_event_time_ms=user.profile.event_times_ms.item(0),
            history=common_pb2.History(
                item_ids=recent["item_id"].tolist(),
                timestamps_ms=recent["timestamp_ms"].tolist(),
                ratings=recent["rating"].tolist(),
            ),
            seen_item_ids=np.unique(user.history["item_id"]).tolist(),
            redis_ms=user.redis_ms,
        )

    async def GetItems(self, request: features_pb2.GetItemsRequest, context: Any) -> features_pb2.GetItemsResponse:
        """Columns of many items."""
        self._check_items(request.item_ids)
        plan = self._plans.get(request.plan)
        if plan is None:
            raise InvalidRequestError(f"plan is {request.plan!r}; it must be one of {sorted(self._plans)}")
        features = await self._store.items(request.item_ids)
        REDIS_SECONDS.labels("items").observe(features.redis_ms / 1e3)
        for status, count in enumerate(np.bincount(features.items.statuses).tolist()):
            if count:
                FEATURE_ROWS.labels("item", STATUS_NAMES[status]).inc(count)
        columns = [
            features_pb2.Column(name=feature.name, dtype=feature.dtype, width=feature.width, data=data)
            for feature, data in zip(plan.features, plan.columns(features.items.rows), strict=True)
        ]
        return features_pb2.GetItemsResponse(
            statuses=features.items.statuses.tolist(),
            event_times_ms=features.items.event_times_ms.tolist(),
            columns=columns,
            redis_ms=features.redis_ms,
        )

    async def GetItemCounters(
        self, request: features_pb2.GetItemCountersRequest, context: Any
    ) -> features_pb2.GetItemCountersResponse:
        """Event counters of many items."""
        self._check_items(request.item_ids)
        impressions, clicks, watches, ratings = (await self._store.item_counters(request.item_ids)).T.tolist()
        return features_pb2.GetItemCountersResponse(
            impressions=impressions, clicks=clicks, watches=watches, ratings=ratings
        )

    async def WriteEvents(
        self, request: features_pb2.WriteEventsRequest, context: Any
    ) -> features_pb2.WriteEventsResponse:
        """Events of one user, all or nothing."""
        result = await self._writer.write(event_batch(request, self._limits, self._clock()))
        return features_pb2.WriteEventsResponse(written=result.written, history_length=result.history_length)

    async def Load(
        self, request_iterator: AsyncIterator[features_pb2.LoadRequest], context: Any
    ) -> features_pb2.LoadResponse:
        """Bulk load, chunk by chunk."""
        loaded = await self._loader.load(request_iterator)
        return features_pb2.LoadResponse(rows=loaded.rows, histories=loaded.histories)

    async def GetInfo(self, request: features_pb2.GetInfoRequest, context: Any) -> features_pb2.GetInfoResponse:
        """Versions and limits."""
        names = ("max_history", "max_items", "max_events", "max_clock_skew_ms")
        limits = {name: getattr(self._limits, name) for name in names} | {"max_event_id_bytes": MAX_EVENT_ID_BYTES}
        return features_pb2.GetInfoResponse(
            info=common_pb2.ServerInfo(
                service="recstack.feature_store",
                version=recstack.__version__,
                schema_hash=SCHEMA.hash,
                limits=limits,
            )
        )

    def _check_items(self, item_ids: Any) -> None:
        check_count("item_ids", item_ids, 0, self._limits.max_items)
        check_item_ids(np.array(item_ids, np.int64))
