"""What happened while one request was answered: timings, degradations, bundle versions."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

from recstack import tracing


@dataclass(slots=True)
class Trace:
    """Written by the executor and the components of one request, read when the response is built.

    timings: (stage or "stage/component", milliseconds), in order of completion.
    degraded: sentences for people, for example "ranking: deadline exceeded after 200 ms; recall order used".
    bundle_versions: version in use, by service.
    as_spans: whether this request is among those whose spans are exported.
    """

    timings: list[tuple[str, float]] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    bundle_versions: dict[str, str] = field(default_factory=dict)
    as_spans: bool = field(default_factory=tracing.recording)

    def timed(self, name: str) -> "_Timer":
        """Record the wall time of a block, also when it raises."""
        return _Timer(self, name)

    def traced(self, name: str) -> "_Timer":
        """The same, with a span of that name."""
        return _Timer(self, name, tracing.span(name) if self.as_spans else None)

    def add_timing(self, name: str, duration_ms: float) -> None:
        """Record a duration measured elsewhere, for example by a backend."""
        self.timings.append((name, duration_ms))

    def degrade(self, component: str, reason: str, consequence: str = "") -> None:
        """Record that `component` did less than it should, why, and what was done about it."""
        self.degraded.append(f"{component}: {reason}; {consequence}" if consequence else f"{component}: {reason}")


class _Timer:
    """A class and not a generator: a request has twenty of them."""

    __slots__ = ("_name", "_span", "_started", "_trace")

    def __init__(self, trace: Trace, name: str, span: AbstractContextManager[object] | None = None) -> None:
        self._trace = trace
        self._name = name
        self._span = span

    def __enter__(self) -> None:
        if self._span is not None:
            self._span.__enter__()
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._trace.add_timing(self._name, (time.perf_counter() - self._started) * 1000)
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)
