"""Server kit: health, reflection, one error mapping and a drain for every service."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recstack.config import TlsSettings
from recstack.errors import StackError
from recstack.rpc.channel import MAX_MESSAGE_BYTES
from recstack.rpc.credentials import server_credentials
from recstack.rpc.served_call import served_call
from recstack.rpc.workers import is_worker

log = logging.getLogger("recstack.rpc")

LIVE = "live"
"""Health service name that is SERVING as soon as the process answers, ready or not: what a liveness probe asks for."""

MAX_CONNECTION_AGE_MS = 5 * 60_000
"""After this a connection is closed, once its calls are done, so that callers look names up again and find new pods."""

_NO_TLS = TlsSettings()

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers every call within `served_call`, which maps errors to statuses, counts, times and traces."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap unary-response handlers (unary-unary and stream-unary)."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.response_streaming:
            return handler
        method = handler_call_details.method
        inner: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with served_call(method, context.invocation_metadata() or ()) as call:
                try:
                    return await inner(request, context)
                except grpc.aio.AbortError:
                    raise
                except asyncio.CancelledError:
                    call.cancelled(context.time_remaining())
                    raise
                except Exception as error:
                    await context.abort(*call.failed(error))

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(guarded, handler.request_deserializer, handler.response_serializer)


@dataclass(frozen=True, slots=True)
class Registration:
    """One servicer to serve: its full protobuf name, the generated `add_…_to_server`, and the servicer."""

    name: str
    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any


class RunningServer:
    """A started server with its health servicer. Use `stop` to drain."""

    def __init__(
        self,
        server: grpc.aio.Server,
        health_servicer: health.aio.HealthServicer,
        port: int,
        services: Sequence[str],
        health_server: grpc.aio.Server | None = None,
    ) -> None:
        self.port = port
        self._server = server
        self._health_server = health_server
        self._health = health_servicer
        self._services = services

    async def set_serving(self, serving: bool) -> None:
        """Publish SERVING or NOT_SERVING for the server as a whole ("") and for each of its services."""
        status = health_pb2.HealthCheckResponse
        for name in ("", *self._services):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, drain_seconds: float) -> None:
        """Flip health to NOT_SERVING, then let in-flight calls finish for up to `drain_seconds`."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace=drain_seconds)
        if self._health_server is not None:
            await self._health_server.stop(grace=None)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        await self._server.wait_for_termination()


async def start_server(
    address: str, registrations: Sequence[Registration], *, serving: bool = True, tls: TlsSettings = _NO_TLS
) -> RunningServer:
    """Start serving on `host:port` (port 0 picks a free one).

    `serving=False` starts with health NOT_SERVING; call `set_serving(True)` when warm.
    Raises StackError when a port is taken, or a certificate cannot be used.
    """
    options = [
        *_OPTIONS,
        ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
        # A port that is taken must be an error, not a silent share; for workers the parent has made sure of it.
        ("grpc.so_reuseport", int(is_worker())),
    ]
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=options)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for registration in registrations:
        registration.add(registration.servicer, server)
    names = [registration.name for registration in registrations]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _listen(server, address, server_credentials(tls) if tls.certificate else None)
    health_server = _health_server(health_servicer, address, tls.health_port) if tls.health_port else None
    await server.start()
    if health_server is not None:
        await health_server.start()
    running = RunningServer(server, health_servicer, port, names, health_server)
    await running.set_serving(serving)
    await health_servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving %s on port %d", ", ".join(names), port)
    return running


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Bind an address and return its port; StackError when that is not possible."""
    try:
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise StackError(
            f"cannot listen on {address}: the port is taken or the address is not local; "
            "stop the other process, or choose another address in the settings"
        ) from error


def _health_server(health_servicer: health.aio.HealthServicer, address: str, port: int) -> grpc.aio.Server:
    """The same health without TLS, on a port with nothing else: the probes of Kubernetes speak no TLS."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", int(is_worker()))])
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    _listen(server, f"{address.rpartition(':')[0]}:{port}")
    return server


async def run_until_signal(running: RunningServer, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await stop.wait()
    log.info("draining for up to %.1f s", drain_seconds)
    await running.stop(drain_seconds)
