"""The id of a request on a server's log lines: the caller's, each call its own, and nothing that breaks a line."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from redis import exceptions

from recstack.api.features.v1 import features_pb2, features_pb2_grpc
from recstack.config import RetrievalSettings
from recstack.errors import InvalidRequestError, UnavailableError
from recstack.logs import TextLines
from recstack.rpc.channel import aio_channel
from recstack.rpc.request_id import (
    HEADER,
    MAX_BYTES,
    accepted_request_id,
    bind_request_id,
    current_request_id,
    request_id_metadata,
    unbind_request_id,
)
from recstack.rpc.server import Registration, start_server
from services.feature_store.pipelined_reads import PipelinedReads
from services.ranking.batching import Batcher, BatchLimits
from services.retrieval.servicer import RetrievalServicer

SERVICE = features_pb2.DESCRIPTOR.services_by_name["FeatureStoreService"].full_name
LOG = logging.getLogger("recstack.test")


class Failing(features_pb2_grpc.FeatureStoreServiceServicer):
    """Users fail each in their own way, the ones above 100 once they are all there."""

    def __init__(self) -> None:
        self.everybody = asyncio.Barrier(3)

    async def GetUser(self, request: features_pb2.GetUserRequest, context: Any) -> features_pb2.GetUserResponse:
        if request.user_id == 1:
            raise UnavailableError("Redis is away")
        if request.user_id == 2:
            raise InvalidRequestError("no such thing")
        if request.user_id == 3:
            raise ZeroDivisionError("a defect")
        await self.everybody.wait()
        LOG.warning("user %d", request.user_id)
        return features_pb2.GetUserResponse()


@pytest.fixture
async def stub() -> AsyncIterator[Any]:
    add = features_pb2_grpc.add_FeatureStoreServiceServicer_to_server
    running = await start_server("127.0.0.1:0", [Registration(SERVICE, add, Failing())])
    try:
        async with aio_channel(f"127.0.0.1:{running.port}") as channel:
            yield features_pb2_grpc.FeatureStoreServiceStub(channel)
    finally:
        await running.stop(0)


@pytest.fixture
def lines() -> Any:
    """What is logged, as the services' own handler writes it, without the time."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(TextLines())
    handler.addFilter(lambda record: record.levelno >= logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [line.split(" ", 2)[2] for line in written.getvalue().splitlines() if line[:2] == "20"]
    root.removeHandler(handler)


async def call(stub: Any, user_id: int, request_id: str = "") -> str:
    """Details of the error, or nothing."""
    try:
        metadata = ((HEADER, request_id),) if request_id else ()
        await stub.GetUser(features_pb2.GetUserRequest(user_id=user_id), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""


async def test_a_failure_is_logged_with_the_callers_id(stub: Any, lines: Any) -> None:
    """A defect tells it to the caller, too; the caller's own mistakes are not logged."""
    assert await call(stub, 1, "of-one") == "Redis is away"
    assert await call(stub, 2, "of-two") == "no such thing"
    method = f"/{SERVICE}/GetUser"
    assert await call(stub, 3, "of-three") == f"internal error in {method}; see the server's log for request of-three"
    assert set(lines()) == {  # once for each attempt: the channel repeats what was UNAVAILABLE
        f"WARNING recstack.rpc [of-one]: {method} ends with UNAVAILABLE: Redis is away",
        f"ERROR recstack.rpc [of-three]: unexpected error in {method}",
    }


async def test_requests_side_by_side_keep_apart(stub: Any, lines: Any) -> None:
    """All three wait for each other before they log; an id too long is replaced, a missing one made up."""
    await asyncio.gather(call(stub, 101, "a"), call(stub, 102, "b" * (3 * MAX_BYTES + 1)), call(stub, 103))
    ids = {line.rpartition(" ")[2]: line.partition("[")[2].partition("]")[0] for line in lines()}
    assert ids.keys() == {"101", "102", "103"}
    assert ids["101"] == "a"
    assert [len(ids["102"]), len(ids["103"])] == [32, 32]
    assert ids["102"] != ids["103"]


def test_an_id_fits_a_line_and_metadata() -> None:
    """Whatever the caller of Recommend put into its field."""
    assert request_id_metadata() == ()
    token = bind_request_id("né\nFAKE LINE")
    try:
        assert current_request_id() == "n%C3%A9%0AFAKE LINE"
        assert request_id_metadata() == ((HEADER, "n%C3%A9%0AFAKE LINE"),)
        bind_request_id("é" * (MAX_BYTES // 2))
        assert accepted_request_id(request_id_metadata()) == current_request_id()
    finally:
        unbind_request_id(token)
    assert current_request_id() == ""


async def test_a_thread_of_retrieval_works_for_its_request() -> None:
    """Large catalogues are searched in threads, and what fails there is logged there."""
    with ThreadPoolExecutor(1) as threads:
        servicer: Any = RetrievalServicer(Any, RetrievalSettings(), threads)
        for request_id in ("first", "second"):
            token = bind_request_id(request_id)
            assert await servicer._compute(SimpleNamespace(large=True), current_request_id) == request_id
            unbind_request_id(token)
        assert threads.submit(current_request_id).result() == ""


async def test_a_connection_belongs_to_no_request() -> None:
    """The one to Redis outlives the request that opened it; what goes wrong with it is logged by the event loop."""
    ids = []

    async def no_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"?")
        writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: ids.append(current_request_id()))
    async with await asyncio.start_server(no_redis, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        token = bind_request_id("of-the-opener")
        with pytest.raises(exceptions.ConnectionError):
            await PipelinedReads(f"redis://127.0.0.1:{port}", 60_000).mget([b"key"])
        unbind_request_id(token)
    assert ids == [""]


async def test_a_batch_of_ranking_works_for_nobody_in_particular() -> None:
    """Requests share it, so none lends it its id."""
    limits = BatchLimits(max_requests=4, max_pairs=4, max_queued=4)
    with ThreadPoolExecutor(1) as thread:
        async with Batcher(lambda queries: [current_request_id() for _ in queries], limits, thread) as batcher:
            token = bind_request_id("one-of-many")
            assert (await batcher.submit("query", (1, 1))).result == ""
            unbind_request_id(token)
