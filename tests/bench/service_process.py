"""A service in a process of its own, so that it shares neither memory nor Python's lock with who measures it."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from multiprocessing.connection import Connection

from recstack.config import Settings
from recstack.rpc.server import RunningServer
from tests.bench.noop_server import run_on_uvloop

Start = Callable[[Settings], AbstractAsyncContextManager[RunningServer]]


@contextmanager
def service_process(start: Start, settings: Settings) -> Iterator[int]:
    """Its port, for as long as it runs. start: a service's `running_service`; the process finds it by its name."""
    spawn = multiprocessing.get_context("spawn")  # gRPC must not be forked
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, start, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join()


def _serve(pipe: Connection, start: Start, settings: Settings) -> None:
    async def serve() -> None:
        async with start(settings) as server:
            pipe.send(server.port)
            await asyncio.to_thread(pipe.recv)

    run_on_uvloop(serve())
