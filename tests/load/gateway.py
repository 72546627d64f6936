"""The gateway as the load harness sees it: actions become calls, answers and failures become outcomes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType
from typing import Any, Self

import grpc.aio

from recstack.api.common.v1 import common_pb2
from recstack.api.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from recstack.rpc.credentials import Tls, channel_credentials, load_pem
from tests.load.traffic import NOTHING, Action, Explain, Page, RecordEvents, SimilarItems

# Neither retries nor shared connections: a failure is counted, and each channel is a connection of its own, so that
# they spread over all processes of a gateway.
OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.lb_policy_name", "round_robin"),
]


CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. error: name of the status, empty when answered. degraded: names of components.

    stages: milliseconds by stage. repeated_events: events that had been written before this run.
    """

    error: str = ""
    degraded: tuple[str, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    page: Page = NOTHING
    cold_start: bool = False
    repeated_events: int = 0


class Gateway:
    """Connections to one address; an async context manager. timeout: deadline of each call, seconds."""

    def __init__(self, address: str, *, connections: int, k: int, timeout: float, tls: Tls | None = None) -> None:
        self._k, self._timeout = k, timeout
        self._channels = [_channel(address, tls) for _ in range(connections)]
        self._stubs = cycle([gateway_pb2_grpc.RecommenderServiceStub(channel) for channel in self._channels])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    async def connect(self) -> None:
        """Wait until every connection stands. Raises TimeoutError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            for channel in self._channels:
                await channel.channel_ready()

    async def send(self, action: Action) -> Outcome:
        """Make the call of an action. A failed call is an outcome, not an exception."""
        stub = next(self._stubs)
        try:
            return await self._call(stub, action)
        except grpc.aio.AioRpcError as error:
            return Outcome(error=error.code().name)

    async def _call(self, stub: Any, action: Action) -> Outcome:
        if isinstance(action, RecordEvents):
            reply = await stub.RecordEvents(events_request(action), timeout=self._timeout)
            return Outcome(repeated_events=sum(not written for written in reply.written))
        if isinstance(action, SimilarItems):
            item = gateway_pb2.SimilarItemsRequest(item_id=action.item_id, k=self._k)
            similar = await stub.SimilarItems(item, timeout=self._timeout)
            return Outcome(degraded=components(similar.degraded))
        if isinstance(action, Explain):
            question = gateway_pb2.ExplainRequest(user_id=action.user_id, item_ids=action.item_ids, k=self._k)
            explained = await stub.Explain(question, timeout=self._timeout)
            return Outcome(degraded=components(explained.degraded))
        request = gateway_pb2.RecommendRequest(user_id=action.session.user_id, k=self._k)
        page = await stub.Recommend(request, timeout=self._timeout)
        return Outcome(
            degraded=components(page.degraded),
            stages={timing.stage: timing.duration_ms for timing in page.timings},
            page=Page(tuple(page.item_ids), tuple(page.channel_masks), page.arm),
            cold_start=page.cold_start,
        )


def _channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, channel_credentials(load_pem(tls)), options=OPTIONS)


def events_request(action: RecordEvents) -> gateway_pb2.RecordEventsRequest:
    """The message of a report; the gateway sets the times."""
    events = action.events
    return gateway_pb2.RecordEventsRequest(
        user_id=action.session.user_id,
        event_ids=[event.event_id for event in events],
        types=[common_pb2.EventType.Value(f"EVENT_TYPE_{event.type}") for event in events],
        item_ids=[event.item_id for event in events],
        timestamps_ms=[0] * len(events),
        ratings=[event.rating for event in events],
        channel_masks=[event.channel_mask for event in events],
        arms=[action.arm] * len(events),
    )


def components(degraded: Sequence[str]) -> tuple[str, ...]:
    """Names of the components in sentences such as "ranking: deadline exceeded; recall order used"."""
    return tuple(dict.fromkeys(sentence.partition(":")[0] for sentence in degraded))
