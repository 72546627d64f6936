"""Plain grpc.aio servers that answer at once with a prepared message: what an RPC costs when nothing is done in it."""

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import process_time
from typing import Any, TypeVar

import grpc
import grpc.aio
import uvloop
from google.protobuf.message import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hop:
    """One RPC with the messages that travel in it. method: "/package.Service/Method"."""

    name: str
    method: str
    request: Message
    response: Message


class NoopServer:
    """Answers each hop's method with its response, in a process of its own."""

    def __init__(self, hops: Sequence[Hop], pipe: Connection, pid: int) -> None:
        self.hops = hops
        self.pid = pid
        self.port: int = pipe.recv()
        self._pipe = pipe

    def cpu_seconds(self) -> float:
        """CPU seconds that the process has used so far."""
        self._pipe.send("cpu")
        seconds: float = self._pipe.recv()
        return seconds

    def calls(self, channel: grpc.aio.Channel) -> dict[str, Callable[[], Awaitable[Any]]]:
        """One call per hop: sends its request and reads the answer."""
        return {hop.name: _call(channel, hop) for hop in self.hops}


@contextmanager
def noop_server(hops: Sequence[Hop]) -> Iterator[NoopServer]:
    """A started server on a free port of loopback; it ends with the block."""
    spawn = multiprocessing.get_context("spawn")  # gRPC must not be forked
    ours, theirs = spawn.Pipe()
    prepared = [(hop.method, type(hop.request), hop.response.SerializeToString(), type(hop.response)) for hop in hops]
    process = spawn.Process(target=_run, args=(theirs, prepared), daemon=True)
    process.start()
    theirs.close()  # so that a process that dies is an EOFError here and not a wait for ever
    try:
        assert process.pid is not None
        yield NoopServer(hops, ours, process.pid)
    finally:
        ours.send("stop")
        process.join()


def run_on_uvloop(main: Coroutine[Any, Any, T]) -> T:
    """Run on the event loop that the services use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _call(channel: grpc.aio.Channel, hop: Hop) -> Callable[[], Awaitable[Any]]:
    rpc = channel.unary_unary(
        hop.method,
        request_serializer=type(hop.request).SerializeToString,
        response_deserializer=type(hop.response).FromString,
    )
    return lambda: rpc(hop.request, timeout=5.0)


def _run(pipe: Connection, prepared: list[tuple[str, type[Message], bytes, type[Message]]]) -> None:
    run_on_uvloop(_serve(pipe, prepared))


async def _serve(pipe: Connection, prepared: list[tuple[str, type[Message], bytes, type[Message]]]) -> None:
    server = grpc.aio.server()
    for method, request_type, response, response_type in prepared:
        service, name = method.removeprefix("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(
            _answer(response_type.FromString(response)),
            request_deserializer=request_type.FromString,
            response_serializer=response_type.SerializeToString,
        )
        server.add_registered_method_handlers(service, {name: handler})
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    while await asyncio.to_thread(pipe.recv) == "cpu":
        pipe.send(process_time())
    await server.stop(0)


def _answer(response: Message) -> Callable[[Message, Any], Awaitable[Message]]:
    async def answer(request: Message, context: Any) -> Message:
        return response

    return answer
