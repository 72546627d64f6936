"""A channel that is made anew when the one before is of no use any more; calls in flight finish on that one.

Its certificates may be renewed: gRPC for Python reads them once, so a process that runs longer than they last would be
refused one day. And its name may lead nowhere for a while, as that of a Service whose pods are not ready: gRPC then
waits longer and longer before it asks again, at last two minutes, and does not see the pods that have become ready.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from recstack.errors import StackError
from recstack.rpc.credentials import Tls, channel_credentials, load_pem, read_pem

log = logging.getLogger("recstack.rpc")

CHECK_SECONDS = 60.0
"""How often a call looks at the files."""

FAILED_SECONDS = 5.0
"""A channel that has no connection at two looks so far apart is replaced."""

_FINISH_SECONDS = 60.0
"""What calls in flight get when the channel changes."""


class RenewedChannel(grpc.aio.Channel):
    """An asyncio channel, with TLS if `tls` is given. `make` opens one from credentials, which are None without TLS.

    Raises StackError for unusable files.
    """

    def __init__(
        self,
        tls: Tls | None,
        make: Callable[[grpc.ChannelCredentials | None], grpc.aio.Channel],
        check_seconds: float = CHECK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls, self._make = tls, make
        self._check_seconds, self._clock = check_seconds, clock
        self._pem = load_pem(tls) if tls else None
        self._channel = self._open()
        self._checked_at = self._looked_at = clock()
        self._failed = False
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> grpc.aio.Channel:
        """The channel: not a failed one, and with the files' certificates of at most `check_seconds` ago."""
        now = self._clock()
        if now - self._looked_at >= FAILED_SECONDS:
            self._looked_at = now
            self._replace_if_failed()
        if self._tls and now - self._checked_at >= self._check_seconds:
            self._checked_at = now
            self._renew(self._tls)
        return self._channel

    def _open(self) -> grpc.aio.Channel:
        return self._make(channel_credentials(self._pem) if self._pem else None)

    def _replace_if_failed(self) -> None:
        failed = self._channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if failed and self._failed:
            self._replace()
        else:
            self._failed = failed

    def _renew(self, tls: Tls) -> None:
        try:
            if read_pem(tls) == self._pem:
                return
            self._pem = load_pem(tls)
        except StackError as error:
            log.warning("%s; the certificates before go on", error)
            return
        self._replace()
        log.info("%s was renewed", tls.certificate or tls.authority)

    def _replace(self) -> None:
        before, self._channel, self._failed = self._channel, self._open(), False
        task = asyncio.get_running_loop().create_task(_finish(before))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As of `grpc.aio.Channel`."""
        return self._call(lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As of `grpc.aio.Channel`."""
        return self._call(lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As of `grpc.aio.Channel`."""
        return self._call(lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As of `grpc.aio.Channel`."""
        return self._call(lambda channel: channel.stream_stream(*args, **kwargs))

    def _call(self, callable_of: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        """A method of a stub: the one of the current channel, made once for each."""
        channel = self._channel
        method = callable_of(channel)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal channel, method
            if self.current is not channel:
                channel = self._channel
                method = callable_of(channel)
            return method(*args, **kwargs)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """State of the current channel."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current channel has another state."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current channel is connected."""
        await self.current.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close at once, or when calls in flight have finished, for up to `grace` seconds."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _finish(channel: grpc.aio.Channel) -> None:
    """Close a channel that gets no more calls when those in flight have had their time; at once when cancelled.

    gRPC's own `close(grace)` cannot be hurried: cancelled, it leaves a channel that no later close ends.
    """
    try:
        await asyncio.sleep(_FINISH_SECONDS)
    finally:
        await channel.close()
