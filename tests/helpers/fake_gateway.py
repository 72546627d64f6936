"""A real gRPC server with canned answers in place of the gateway."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import grpc

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc

VERSION = "20260102-030405-abc123"


class FakeGateway(gateway_pb2_grpc.RecommenderServiceServicer):
    """Answers every call alike. Remembers requests; fails the next calls with the statuses in `failures`."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: list[Any] = []
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        self.hold = Event()
        self.hold.set()
        self.cold_start = False
        self.degraded: list[str] = []
        self.arm = VERSION
        self._known_events: set[str] = set()

    def Recommend(self, request: gateway_pb2.RecommendRequest, context: grpc.ServicerContext) -> Any:
        """Two items."""
        self._receive(request, context)
        return gateway_pb2.RecommendResponse(
            item_ids=[7, 9],
            scores=[0.75, 0.5],
            channel_masks=[0b101, 0b1010],
            titles=["Seven [Director's Cut]", "Nine"],
            years=[1995, 0],
            genres=["Crime|Thriller", ""],
            request_id=request.request_id or "made-up",
            cold_start=self.cold_start,
            degraded=self.degraded,
            timings=[
                common_pb2.StageTiming(stage="sources/recall", duration_ms=3.5),
                common_pb2.StageTiming(stage="sources", duration_ms=4.0),
                common_pb2.StageTiming(stage="score", duration_ms=8.0),
                common_pb2.StageTiming(stage="total", duration_ms=12.5),
            ],
            candidates=432,
            bundle_versions={"retrieval": VERSION, "ranking": VERSION},
            profile_status=common_pb2.FEATURE_STATUS_PRESENT,
            score_kind=common_pb2.SCORE_KIND_LIKE_PROBABILITY,
            arm=self.arm,
        )

    def SimilarItems(self, request: gateway_pb2.SimilarItemsRequest, context: grpc.ServicerContext) -> Any:
        """One neighbour."""
        self._receive(request, context)
        return gateway_pb2.SimilarItemsResponse(
            item_ids=[8], similarities=[0.9], titles=["Eight"], years=[1988], genres=["Drama"]
        )

    def RecordEvents(self, request: gateway_pb2.RecordEventsRequest, context: grpc.ServicerContext) -> Any:
        """Written once per event id."""
        self._receive(request, context)
        written = [event_id not in self._known_events for event_id in request.event_ids]
        self._known_events.update(request.event_ids)
        return gateway_pb2.RecordEventsResponse(written=written)

    def Explain(self, request: gateway_pb2.ExplainRequest, context: grpc.ServicerContext) -> Any:
        """The first item was selected, every other one dropped."""
        self._receive(request, context)
        items = [
            gateway_pb2.ItemExplanation(item_id=item_id, title=f"Item {item_id}", drop_reason="already_watched")
            for item_id in request.item_ids
        ]
        first = items[0]
        first.drop_reason, first.position, first.score_rank, first.score = "", 1, 2, 0.75
        first.channels.add(channel=common_pb2.CHANNEL_ITEM_TO_ITEM, rank=3, score=0.5, seed_item_id=11)
        first.influences.add(item_id=11, title="Eleven", influence=0.25, rating=5)
        first.influences.add(item_id=12, influence=-0.034)
        return gateway_pb2.ExplainResponse(
            items=items, bundle_versions={"ranking": VERSION}, score_kind=common_pb2.SCORE_KIND_RATING
        )

    def GetInfo(self, request: gateway_pb2.GetInfoRequest, context: grpc.ServicerContext) -> Any:
        """The gateway and one backend."""
        self._receive(request, context)
        return gateway_pb2.GetInfoResponse(
            info=common_pb2.ServerInfo(service="recstack.gateway", version="0.1.0", limits={"max_k": 200}),
            backends=[common_pb2.ServerInfo(service="recstack.ranking", bundle=common_pb2.BundleInfo(version=VERSION))],
        )

    def _receive(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.hold.wait(timeout=30)
        if self.failures:
            status, message = self.failures.popleft()
            context.abort(status, message)


@contextmanager
def running_fake_gateway() -> Iterator[FakeGateway]:
    """A fake gateway on a free port of loopback."""
    gateway = FakeGateway()
    server = grpc.server(ThreadPoolExecutor(4))
    gateway_pb2_grpc.add_RecommenderServiceServicer_to_server(gateway, server)
    gateway.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield gateway
    finally:
        gateway.hold.set()
        server.stop(grace=None).wait()
