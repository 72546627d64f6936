"""Traces by OpenTelemetry, off unless `tracing.endpoint` is set: then RecStack does not even import it.

What services call is here, and does nothing while tracing is off; what it does otherwise is in `recstack.spans`.
`server_call` begins a trace or continues one; all else is part of it, and nothing where it is not sampled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from recstack.config import TracingSettings
from recstack.errors import StackError

if TYPE_CHECKING:
    from recstack.spans import Spans

Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

_NOTHING = nullcontext()


class _Process:
    """Spans are exported once per process, as metrics are."""

    spans: Spans | None = None


_process = _Process()


def start_tracing(settings: TracingSettings, service: str) -> None:
    """Export this process's spans from here on, under the name of its service; nothing when no endpoint is set.

    Raises StackError when OpenTelemetry is not installed.
    """
    if not settings.endpoint:
        return
    try:
        from recstack.spans import Spans
    except ImportError as error:
        raise StackError(
            f"tracing.endpoint is {settings.endpoint} and OpenTelemetry is not installed ({error}); "
            "install recstack[tracing], or unset RECSTACK_TRACING__ENDPOINT"
        ) from error
    _process.spans = Spans(settings, service)


def stop_tracing() -> None:
    """Send what is left, for a few seconds at most, and export no more. May block: call it when nothing is served."""
    spans, _process.spans = _process.spans, None
    if spans is not None:
        spans.close()


@contextmanager
def exported_traces(settings: TracingSettings, service: str) -> Iterator[None]:
    """`start_tracing`, and `stop_tracing` at the end."""
    start_tracing(settings, service)
    try:
        yield
    finally:
        stop_tracing()


def recording() -> bool:
    """Whether the request at hand is being traced: whether it pays to prepare attributes."""
    return _process.spans is not None and _process.spans.recording()


def span(name: str) -> AbstractContextManager[object]:
    """Around a part of the work in this process."""
    return _process.spans.span(name) if _process.spans and recording() else _NOTHING


def server_call(method: str, metadata: Collection[tuple[str, Any]]) -> AbstractContextManager[object]:
    """Around the answer to a call, within the caller's trace if it came with one. Health checks are not traced."""
    if _process.spans is None or method.startswith("/grpc."):
        return _NOTHING
    return _process.spans.server_call(method, metadata)


def end_server_call(code: str, request_id: str) -> None:
    """The outcome of the call at hand. code: name of a gRPC status."""
    if _process.spans is not None:
        _process.spans.end_server_call(code, request_id)


def client_call(method: str, address: str) -> AbstractContextManager[object]:
    """Around a call to another service. address: host:port or a gRPC target."""
    return _process.spans.client_call(method, address) if _process.spans and recording() else _NOTHING


def redis_call(command: str, address: str) -> AbstractContextManager[object]:
    """Around a round trip to Redis at host:port."""
    return _process.spans.redis_call(command, address) if _process.spans and recording() else _NOTHING


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """What to send with a call so that its server continues this trace: W3C traceparent, unless OTEL_PROPAGATORS says
    otherwise."""
    return _process.spans.metadata() if _process.spans else ()


def annotate(attributes: Attributes) -> None:
    """More about the span at hand."""
    if _process.spans is not None:
        _process.spans.annotate(attributes)


def event(name: str, attributes: Attributes) -> None:
    """Something that happened within the span at hand."""
    if _process.spans is not None:
        _process.spans.event(name, attributes)


def exemplar() -> dict[str, str] | None:
    """What leads from a measured value, or a log line, to its trace; None when there is none."""
    return _process.spans.exemplar() if _process.spans else None
