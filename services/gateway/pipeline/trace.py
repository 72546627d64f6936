"""What happened while one request was answered: timings, degradations, bundle versions."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trace:
    """Written by the executor and the components of one request, read when the response is built.

    timings: (stage or "stage/component", milliseconds), in order of completion.
    degraded: sentences for people, for example "ranking: deadline exceeded after 200 ms; recall order used".
    bundle_versions: version in use, by service.
    """

    timings: list[tuple[str, float]] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    bundle_versions: dict[str, str] = field(default_factory=dict)

    def timed(self, name: str) -> "_Timer":
        """Record the wall time of a block, also when it raises."""
        return _Timer(self, name)

    def add_timing(self, name: str, duration_ms: float) -> None:
        """Record a duration measured elsewhere, for example by a backend."""
        self.timings.append((name, duration_ms))

    def degrade(self, component: str, reason: str, consequence: str = "") -> None:
        """Record that `component` did less than it should, why, and what was done about it."""
        self.degraded.append(f"{component}: {reason}; {consequence}" if consequence else f"{component}: {reason}")


class _Timer:
    """A class and not a generator: a request has twenty of them."""

    __slots__ = ("_name", "_started", "_trace")

    def __init__(self, trace: Trace, name: str) -> None:
        self._trace = trace
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._trace.add_timing(self._name, (time.perf_counter() - self._started) * 1000)
