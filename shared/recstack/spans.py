"""What `recstack.tracing` does when it is on: spans of OpenTelemetry's SDK, sent to a collector by OTLP over gRPC.

Names and attributes follow OpenTelemetry's semantic conventions for RPC, gRPC and databases. The SDK reads the OTEL_…
variables that concern it (resource attributes, headers and certificates of the exporter, batches, propagators);
endpoint and sampling are RecStack's own settings. Imported only when tracing is on.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_span_id, format_trace_id, get_current_span

from recstack import __version__
from recstack.config import TracingSettings
from recstack.tracing import Attributes

CLOSE_SECONDS = 3.0
"""How long a collector that does not answer may hold up the end of a process."""

_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Statuses that are a server's own failure; with others it did its work, and told the caller no."""


class Spans:
    """Makes and exports the spans of one process."""

    def __init__(self, settings: TracingSettings, service: str) -> None:
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
                "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # A trace that a caller has begun is followed or not as the caller decided; the ratio is for those begun here.
        sampler = ParentBased(TraceIdRatioBased(settings.sample_ratio))
        self._exporter = OTLPSpanExporter(endpoint=settings.endpoint)
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("recstack", __version__)

    def close(self) -> None:
        """Send what is left, for CLOSE_SECONDS at most."""
        # The SDK's own bound is 30 s. An exporter that is shut down gives up what it is trying.
        give_up = threading.Timer(CLOSE_SECONDS, self._exporter.shutdown)
        give_up.daemon = True
        give_up.start()
        self._provider.shutdown()
        give_up.cancel()

    def recording(self) -> bool:
        """Whether the span at hand goes anywhere."""
        return get_current_span().is_recording()

    def span(self, name: str) -> AbstractContextManager[object]:
        """A part of the work. An exception that leaves it is its status, no event: logs have the trace."""
        return self._tracer.start_as_current_span(name, record_exception=False)

    def server_call(self, method: str, metadata: Collection[tuple[str, Any]]) -> AbstractContextManager[object]:
        """The answer to a call; `end_server_call` says how it ended."""
        name = method.removeprefix("/")
        return self._tracer.start_as_current_span(
            name,
            propagate.extract(dict(metadata)),
            SpanKind.SERVER,
            {"rpc.system.name": "grpc", "rpc.method": name},
            record_exception=False,
            set_status_on_exception=False,
        )

    def end_server_call(self, code: str, request_id: str) -> None:
        """The outcome of the call at hand."""
        span = get_current_span()
        span.set_attributes({"rpc.response.status_code": code, "recstack.request_id": request_id})
        if code in _SERVER_ERRORS:
            _fail(span, code)

    @contextmanager
    def client_call(self, method: str, address: str) -> Iterator[None]:
        """A call to another service. How it ended is the span's status; its log has the details."""
        name = method.removeprefix("/")
        target = _server(address.rpartition("/")[2])
        with self._tracer.start_as_current_span(
            name,
            None,
            SpanKind.CLIENT,
            {"rpc.system.name": "grpc", "rpc.method": name, **target},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            code = "OK"
            try:
                yield
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                raise
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            finally:
                span.set_attribute("rpc.response.status_code", code)
                if code != "OK":
                    _fail(span, code)

    def redis_call(self, command: str, address: str) -> AbstractContextManager[object]:
        """A round trip to Redis."""
        attributes = {"db.system.name": "redis", "db.operation.name": command, **_server(address)}
        return self._tracer.start_as_current_span(command, None, SpanKind.CLIENT, attributes, record_exception=False)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The span at hand, for a server to continue."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return tuple(carrier.items())

    def annotate(self, attributes: Attributes) -> None:
        """More about the span at hand."""
        get_current_span().set_attributes(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        """Something that happened within the span at hand."""
        get_current_span().add_event(name, attributes)

    def exemplar(self) -> dict[str, str] | None:
        """Ids of the span at hand, if its trace is exported."""
        context = get_current_span().get_span_context()
        if not context.trace_flags.sampled:
            return None
        return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


def _server(address: str) -> dict[str, str | int]:
    host, _, port = address.rpartition(":")
    return {"server.address": host, "server.port": int(port)} if port.isdigit() else {"server.address": address}
