"""RPC handlers: request -> query -> execute -> response. What a recommendation is lives in the pipeline, not here."""

import asyncio
import logging
import time
from typing import Any

import grpc.aio
import numpy as np

from recstack import __version__
from recstack.api.common.v1 import common_pb2
from recstack.api.features.v1 import features_pb2
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.api.ranking.v1 import ranking_pb2
from recstack.api.retrieval.v1 import retrieval_pb2
from recstack.config import GatewaySettings
from recstack.errors import RecStackError
from recstack.features.schema import SCHEMA
from recstack.metrics import exporting
from recstack.rpc.limits import check_range
from recstack.rpc.request_id import bind_request_id
from services.gateway.arms import Arms
from services.gateway.clients import Backend, Backends
from services.gateway.explainer import Explainer
from services.gateway.hydrators.item_columns import read_item_columns
from services.gateway.messages import item_filter
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.deadline import Deadline
from services.gateway.pipeline.executor import Executor
from services.gateway.requests import (
    MAX_ARM_BYTES,
    MAX_REQUEST_ID_BYTES,
    check_events,
    check_item_id,
    explain_query,
    parse_filter,
    recommend_query,
)
from services.gateway.responses import display_columns, recommend_response
from services.gateway.telemetry import annotate_span, record, record_events

log = logging.getLogger("recstack.gateway")

Context = grpc.aio.ServicerContext[Any, Any]

OPTIONAL_SHARE = 0.7
"""Part of the time left that a call may use whose failure still leaves an answer to send."""


class RecommenderServicer(gateway_pb2_grpc.RecommenderServiceServicer):
    """The gateway's RPCs. Errors are raised; the server kit's interceptor maps them to statuses."""

    def __init__(self, executor: Executor, backends: Backends, settings: GatewaySettings) -> None:
        self._executor = executor
        self._backends = backends
        self._settings = settings
        self._reserve = settings.reserve_ms / 1000
        self._explainer = Explainer(backends, executor.pipeline, self._reserve)
        self._arms = Arms(settings.arm)

    async def Recommend(self, request: gateway_pb2.RecommendRequest, context: Context) -> gateway_pb2.RecommendResponse:
        """Recommend items to a user."""
        query = recommend_query(request, self._deadline(context), self._settings)
        bind_request_id(query.request_id)
        outcome = await self._executor.run(query)
        annotate_span(outcome)
        if outcome.trace.degraded:
            log.info("degraded: %s", " | ".join(outcome.trace.degraded), extra={"user_id": query.user_id})
        if exporting():
            asyncio.get_running_loop().call_soon(record, outcome)  # once the answer is on its way
        return recommend_response(outcome, self._arms.of(outcome))

    async def Explain(self, request: gateway_pb2.ExplainRequest, context: Context) -> gateway_pb2.ExplainResponse:
        """Explain what Recommend does with some items."""
        query = explain_query(request, self._deadline(context), self._settings)
        outcome = await self._executor.run(query)
        explanation = await self._explainer.explain(outcome)
        annotate_span(outcome)
        return explanation

    async def SimilarItems(
        self, request: gateway_pb2.SimilarItemsRequest, context: Context
    ) -> gateway_pb2.SimilarItemsResponse:
        """Items nearest to one item, with display features when there are any."""
        deadline = self._deadline(context)
        check_item_id("item_id", request.item_id)
        check_range("k", request.k, 1, self._settings.max_k)
        limits = parse_filter(request.filter, self._settings)
        retrieval = self._backends.retrieval
        similar = await retrieval.call(
            retrieval.stub.SimilarItems,
            retrieval_pb2.SimilarItemsRequest(
                item_id=request.item_id, k=request.k, filter=item_filter(limits, limits.exclude_item_ids.tolist())
            ),
            deadline,
        )
        item_ids = np.array(similar.item_ids, np.int64)
        degraded = []
        try:
            own = deadline.part(OPTIONAL_SHARE, self._reserve)
            columns, _ = await read_item_columns(self._backends.features, item_ids, "display", own)
        except RecStackError as error:
            columns = ItemColumns.unknown(len(item_ids))
            degraded.append(f"display: {error}; titles, years and genres left out")
        titles, years, genres = display_columns(columns, np.arange(len(item_ids)))
        return gateway_pb2.SimilarItemsResponse(
            item_ids=similar.item_ids,
            similarities=similar.similarities,
            titles=titles,
            years=years,
            genres=genres,
            degraded=degraded,
        )

    async def RecordEvents(
        self, request: gateway_pb2.RecordEventsRequest, context: Context
    ) -> gateway_pb2.RecordEventsResponse:
        """Write events; acknowledged once the feature store has them."""
        check_events(request)
        now_ms = time.time_ns() // 1_000_000
        features = self._backends.features
        reply = await features.call(
            features.stub.WriteEvents,
            features_pb2.WriteEventsRequest(
                user_id=request.user_id,
                event_ids=request.event_ids,
                types=request.types,
                item_ids=request.item_ids,
                timestamps_ms=[timestamp or now_ms for timestamp in request.timestamps_ms],
                ratings=request.ratings,
            ),
            self._deadline(context),
        )
        if exporting():
            asyncio.get_running_loop().call_soon(record_events, request, reply.written, self._arms)
        return gateway_pb2.RecordEventsResponse(written=reply.written)

    async def GetInfo(self, request: gateway_pb2.GetInfoRequest, context: Context) -> gateway_pb2.GetInfoResponse:
        """Versions and limits, of the gateway and of those backends that answer."""
        deadline = self._deadline(context).part(OPTIONAL_SHARE, self._reserve)
        backends = self._backends
        infos = await asyncio.gather(
            _info(backends.features, features_pb2.GetInfoRequest(), deadline),
            _info(backends.retrieval, retrieval_pb2.GetInfoRequest(), deadline),
            _info(backends.ranking, ranking_pb2.GetInfoRequest(), deadline),
        )
        own = common_pb2.ServerInfo(
            service="recstack.gateway",
            version=__version__,
            schema_hash=SCHEMA.hash,
            limits={
                "max_k": self._settings.max_k,
                "max_explained_items": self._settings.max_explained_items,
                "max_filter_items": self._settings.max_filter_items,
                "max_request_id_bytes": MAX_REQUEST_ID_BYTES,
                "max_arm_bytes": MAX_ARM_BYTES,
            },
        )
        return gateway_pb2.GetInfoResponse(info=own, backends=[info for info in infos if info is not None])

    def _deadline(self, context: Context) -> Deadline:
        """The caller's deadline, or the configured one when the caller set none."""
        remaining = context.time_remaining()
        return Deadline.after(self._settings.deadline_ms / 1000 if remaining is None else remaining)


async def _info(backend: Backend, request: object, deadline: Deadline) -> common_pb2.ServerInfo | None:
    try:
        reply = await backend.call(backend.stub.GetInfo, request, deadline)
    except RecStackError:
        return None
    info: common_pb2.ServerInfo = reply.info
    return info
