"""What a load run remembers: HDR histograms and counts, which workers keep apart and which are merged exactly.

Percentiles are read from merged histograms. Percentiles themselves are never averaged, as their average is no
percentile of anything.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from hdrh.histogram import HdrHistogram

_MAX_MICROSECONDS = 120_000_000
_MICROSECONDS_PER_MS = 1000
OUT_OF_TIME = "DEADLINE_EXCEEDED"
"""Kind of the error of a call that was given up when its time had run out."""


class Histogram:
    """Durations in milliseconds, at microsecond resolution: high dynamic range, so any percentile can be asked for.

    digits: significant decimal digits that are kept of each value. Pickling encodes it (HdrHistogram V2, compressed).
    """

    __slots__ = ("_counts", "_sum")

    def __init__(self, digits: int = 3) -> None:
        self._counts = HdrHistogram(1, _MAX_MICROSECONDS, digits)
        self._sum = 0

    def record(self, milliseconds: float) -> None:
        """Count one duration. What is longer than two minutes counts as two minutes."""
        microseconds = min(max(0, round(milliseconds * _MICROSECONDS_PER_MS)), _MAX_MICROSECONDS)
        self._counts.record_value(microseconds)
        self._sum += microseconds

    def add(self, other: Self) -> None:
        """Count everything that `other` counted; exact, bucket by bucket."""
        self._counts.add(other._counts)
        self._sum += other._sum

    @property
    def count(self) -> int:
        """Durations recorded."""
        return int(self._counts.get_total_count())

    @property
    def max(self) -> float:
        """The longest, milliseconds; 0 when empty."""
        return float(self._counts.get_max_value()) / _MICROSECONDS_PER_MS

    @property
    def mean(self) -> float:
        """Milliseconds, exact; 0 when empty. Unlike percentiles, means of parts of a whole add up."""
        return self._sum / max(1, self.count) / _MICROSECONDS_PER_MS

    def percentile(self, percent: float) -> float:
        """The duration that `percent` (0..100) of all do not exceed, milliseconds; 0 when empty."""
        return self.percentiles([percent])[percent]

    def percentiles(self, percents: Iterable[float]) -> dict[float, float]:
        """Several percentiles in one pass."""
        values = self._counts.get_percentile_to_value_dict(percents)
        return {percent: values.get(percent, 0) / _MICROSECONDS_PER_MS for percent in percents}

    def encode(self) -> str:
        """The histogram as text, HdrHistogram V2 in base64; any HDR tool reads and merges it."""
        return str(self._counts.encode(), "ascii")

    @classmethod
    def decode(cls, text: str, microseconds: int | None = None) -> Self:
        """What `encode` wrote. microseconds: sum of all durations; taken from the buckets if not given."""
        histogram = cls.__new__(cls)
        histogram._counts = HdrHistogram.decode(text)
        if microseconds is None:
            microseconds = round(histogram._counts.get_mean_value() * histogram.count)
        histogram._sum = microseconds
        return histogram

    def __reduce__(self) -> tuple[Callable[[str, int], "Histogram"], tuple[str, int]]:
        return Histogram.decode, (self.encode(), self._sum)


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call. Times are seconds of `time.monotonic`, which all processes of a machine share.

    intended: when the schedule wanted it sent; equal to `sent` in a closed loop. error: its kind, empty when answered.
    degraded: components that did less than they should. stages: milliseconds by stage, as the server tells them.
    """

    rpc: str
    intended: float
    sent: float
    finished: float
    error: str = ""
    degraded: tuple[str, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class RpcRecording:
    """Calls of one RPC. latency: from the intended send; latency_from_send: from the actual one.

    Both hold the calls that were answered or ran out of time; what was refused at once would only look fast.
    """

    latency: Histogram = field(default_factory=Histogram)
    latency_from_send: Histogram = field(default_factory=Histogram)
    calls: int = 0
    degraded_calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)

    def add(self, other: Self) -> None:
        """Merge `other` in."""
        self.latency.add(other.latency)
        self.latency_from_send.add(other.latency_from_send)
        self.calls += other.calls
        self.degraded_calls += other.degraded_calls
        self.errors += other.errors
        self.degraded += other.degraded


@dataclass(slots=True)
class Tick:
    """One second of the run, by intended send. latency: of the RPC that is watched; the counts are of all."""

    latency: Histogram = field(default_factory=lambda: Histogram(digits=2))
    calls: int = 0
    errors: int = 0
    degraded: int = 0

    def add(self, other: Self) -> None:
        """Merge `other` in."""
        self.latency.add(other.latency)
        self.calls += other.calls
        self.errors += other.errors
        self.degraded += other.degraded


@dataclass(slots=True)
class Recording:
    """A run as one worker, or after `merged` all of them, saw it. Travels between processes by pickle.

    seconds: length of the measured window. lag: milliseconds from the intended to the actual send, which is the load
    generator's own lateness. stages: by name in the order in which they end. counts: what the traffic noticed.
    cpu_seconds: of the load generator.
    """

    seconds: float
    rpcs: dict[str, RpcRecording] = field(default_factory=lambda: defaultdict(RpcRecording))
    lag: Histogram = field(default_factory=Histogram)
    stages: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    ticks: dict[int, Tick] = field(default_factory=lambda: defaultdict(Tick))
    counts: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0

    @property
    def calls(self) -> int:
        """Calls of all RPCs."""
        return sum(rpc.calls for rpc in self.rpcs.values())

    @property
    def errors(self) -> Counter[str]:
        """Errors of all RPCs by kind."""
        return sum((rpc.errors for rpc in self.rpcs.values()), Counter())

    @property
    def degraded(self) -> Counter[str]:
        """Degraded answers of all RPCs by component."""
        return sum((rpc.degraded for rpc in self.rpcs.values()), Counter())

    @property
    def error_share(self) -> float:
        """Failed calls over all calls, 0..1."""
        return self.errors.total() / max(1, self.calls)

    def degraded_share(self, rpc: str) -> float:
        """Answers of one RPC in which something was degraded, over its calls, 0..1."""
        recording = self.rpcs.get(rpc)
        return recording.degraded_calls / max(1, recording.calls) if recording else 0.0

    def add(self, other: Self) -> None:
        """Merge `other` in; both are of the same window."""
        for name, rpc in other.rpcs.items():
            self.rpcs[name].add(rpc)
        for name, stage in other.stages.items():
            self.stages[name].add(stage)
        for second, tick in other.ticks.items():
            self.ticks[second].add(tick)
        self.lag.add(other.lag)
        self.counts.update(other.counts)  # += would drop the zeros, and a zero is a finding
        self.cpu_seconds += other.cpu_seconds


def merged(recordings: Iterable[Recording]) -> Recording:
    """All workers' recordings of one window as one."""
    parts = list(recordings)
    total = Recording(seconds=max((part.seconds for part in parts), default=0.0))
    for part in parts:
        total.add(part)
    return total


class Recorder:
    """Records the calls that were intended within [start, start + seconds), on the clock of `time.monotonic`.

    What was intended before is warm-up, what comes after belongs to no window. watched: the RPC whose latency the
    timeline follows.
    """

    def __init__(self, start: float, seconds: float, watched: str = "Recommend") -> None:
        self._start, self._watched = start, watched
        self.recording = Recording(seconds)

    def record(self, call: Call) -> None:
        """Count a finished call."""
        intended = min(call.intended, call.sent)  # a timer may fire a little early
        second = math.floor(intended - self._start)
        if not 0 <= intended - self._start < self.recording.seconds:
            return
        rpc, tick = self.recording.rpcs[call.rpc], self.recording.ticks[second]
        rpc.calls += 1
        tick.calls += 1
        self.recording.lag.record((call.sent - intended) * 1000)
        if call.error:
            rpc.errors[call.error] += 1
            tick.errors += 1
        if call.degraded:
            rpc.degraded_calls += 1
            rpc.degraded.update(call.degraded)
            tick.degraded += 1
        if call.error in ("", OUT_OF_TIME):
            latency_ms = (call.finished - intended) * 1000
            rpc.latency.record(latency_ms)
            rpc.latency_from_send.record((call.finished - call.sent) * 1000)
            if call.rpc == self._watched:
                tick.latency.record(latency_ms)
        for stage, milliseconds in call.stages.items():
            self.recording.stages[stage].record(milliseconds)
