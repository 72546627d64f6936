"""Reads from Redis over one connection that all requests share, each sent at once and answered in order.

For the one command on the path of every recommendation. redis-py's asyncio client takes three times the CPU for it:
pool, retries, streams and timeouts of its own, some sixty Python functions per round trip. Everything else stays with
redis-py, and so do reads where a URL asks for more than TCP (TLS, Unix sockets, clusters).
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import hiredis
from redis import exceptions
from redis.asyncio.connection import parse_url

_AUTHENTICATION_ERRORS = ("NOAUTH", "WRONGPASS", "NOPERM")


Locate = Callable[[], Awaitable[tuple[str, int]]]
"""Finds host and port of the Redis to talk to."""


class Reads(Protocol):
    """What can read many keys at once; redis-py's clients can too."""

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, in order."""
        ...


def can_pipeline(url: str) -> bool:
    """Whether a URL asks for nothing but TCP."""
    return urlsplit(url).scheme == "redis"


class PipelinedReads:
    """MGET at `redis://[user:password@]host:port/db`. Connects on first use, and again when the connection was lost.

    locate: says host and port in place of the URL, each time it connects. timeout_ms: per read, and for connecting. A
    read that takes longer breaks the connection, for the answers behind it would be as late. Raises redis-py's
    exceptions, as its own client does; nothing is sent twice.
    """

    def __init__(self, url: str, timeout_ms: int, locate: Locate | None = None) -> None:
        self._target = parse_url(url)
        self._locate = locate or self._named_in_url
        self._seconds = timeout_ms / 1000
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, in order."""
        connection = self._connection
        try:
            async with asyncio.timeout(self._seconds):
                if connection is None or connection.lost:
                    connection = await self._connect()
                values: list[bytes | None] = await connection.ask(b"MGET", *keys)
                return values
        except TimeoutError:
            late = exceptions.TimeoutError("no answer in time")
            if connection is not None:
                connection.break_off(late)
            raise late from None

    def disconnect(self) -> None:
        """Close the connection; reads that wait fail. The next read connects again."""
        if self._connection is not None:
            self._connection.break_off(exceptions.ConnectionError("closed"))

    async def aclose(self) -> None:
        """Close the connection; reads that wait fail."""
        self.disconnect()

    async def _named_in_url(self) -> tuple[str, int]:
        return self._target.get("host", "localhost"), self._target.get("port", 6379)

    async def _connect(self) -> "_Connection":
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return self._connection  # another read has connected meanwhile
            target = self._target
            host, port = await self._locate()
            loop = asyncio.get_running_loop()
            # In a context of its own: what the connection logs later is not about the request that opened it.
            opening = loop.create_task(loop.create_connection(_Connection, host, port), context=contextvars.Context())
            _, connection = await opening
            try:
                if "password" in target:
                    user = [target["username"]] if "username" in target else []
                    await connection.ask(b"AUTH", *user, target["password"])
                if target.get("db"):
                    await connection.ask(b"SELECT", target["db"])
            except BaseException:
                connection.break_off(exceptions.ConnectionError("not admitted"))
                raise
            self._connection = connection
            return connection


class _Connection(asyncio.Protocol):
    """One connection: futures wait in the order in which commands were sent."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._reader = hiredis.Reader(protocolError=exceptions.ConnectionError, replyError=_reply_error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what uvloop passes is one by its methods only

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            future = self._waiting.popleft()
            if future.done():  # whoever asked has gone
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.break_off(exceptions.ConnectionError("Redis closed the connection"))

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send a command and wait for its reply."""
        assert self._transport is not None
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub takes one word only
        return await future

    def break_off(self, error: Exception) -> None:
        """Close, and fail all who wait with `error`."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)


def _reply_error(message: str) -> Exception:
    code = message.partition(" ")[0]
    if code == "LOADING":
        return exceptions.BusyLoadingError(message)
    if code in _AUTHENTICATION_ERRORS or "invalid password" in message:
        return exceptions.AuthenticationError(message)
    return exceptions.ResponseError(message)
