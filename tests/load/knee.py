"""The knee: the highest rate at which the target still holds. Knows steps and targets, not who serves or sends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.load.recorder import Recording


@dataclass(frozen=True, slots=True)
class Step:
    """One run at one rate. rate: requests/s that were intended. p99_ms and degraded_share: of the watched RPC.

    lag_p99_ms: lateness of the load generator itself.
    """

    rate: float
    p99_ms: float
    error_share: float = 0.0
    degraded_share: float = 0.0
    lag_p99_ms: float = 0.0
    recording: Recording | None = None

    @classmethod
    def of(cls, rate: float, recording: Recording, watched: str) -> Self:
        """The step that a recording shows. watched: the RPC whose latency the target is about."""
        return cls(
            rate=rate,
            p99_ms=recording.rpcs[watched].latency.percentile(99),
            error_share=recording.error_share,
            degraded_share=recording.degraded_share(watched),
            lag_p99_ms=recording.lag.percentile(99),
            recording=recording,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What has to hold for a rate to count as sustained.

    error_share: of all calls. degraded_share: an answer in a lesser way is not the answer that was asked for, and a
    server that degrades under load would otherwise have no knee.
    """

    p99_ms: float = 100.0
    error_share: float = 0.001
    degraded_share: float = 0.01

    def broken_by(self, step: Step) -> tuple[str, ...]:
        """What breaks the target, in words; empty when it holds."""
        broken = []
        if step.p99_ms > self.p99_ms:
            broken.append(f"p99 {step.p99_ms:.1f} ms > {self.p99_ms:g} ms")
        if step.error_share > self.error_share:
            broken.append(f"errors {step.error_share:.2%} > {self.error_share:.2%}")
        if step.degraded_share > self.degraded_share:
            broken.append(f"degraded {step.degraded_share:.1%} > {self.degraded_share:.1%}")
        return tuple(broken)

    def generator_to_blame(self, step: Step) -> bool:
        """Whether the target would hold, or cannot be told to be broken, without the load generator's own lateness.

        A late loop sends late, and reads answers as late again: two lags lie in each latency.
        """
        late = step.lag_p99_ms > 0.1 * self.p99_ms
        return late and bool(self.broken_by(step)) and step.p99_ms - 2 * step.lag_p99_ms <= self.p99_ms


@dataclass(frozen=True, slots=True)
class Knee:
    """What the search found. rate: the highest that held, requests/s; 0 when none did. steps: in the order taken.

    limit: why it is not higher, in words. by_generator: the load generator gave up first; the server may do more.
    """

    rate: float
    steps: tuple[Step, ...]
    limit: str
    by_generator: bool

    @property
    def step(self) -> Step | None:
        """The step at the knee."""
        return next((step for step in reversed(self.steps) if step.rate == self.rate), None)


def find_knee(
    run_at: Callable[[float], Step],
    target: Target | None = None,
    *,
    start: float = 50.0,
    growth: float = 2.0,
    tolerance: float = 0.08,
    attempts: int = 1,
    floor: float = 1.0,
    ceiling: float = 100_000.0,
) -> Knee:
    """Raise the rate by `growth` until the target breaks, then bisect between what held and what did not.

    run_at: runs at a rate (requests/s) and returns what came of it. It stops when the gap is at most `tolerance` of the
    rate that broke, at `ceiling` when nothing breaks, and below `floor` when nothing holds. attempts: runs that a rate
    gets to hold; with one, a hiccup of the machine can pass for the server's limit.
    """
    target = target or Target()
    steps: list[Step] = []
    held, broke, rate = 0.0, None, start
    while True:
        tried = _tried(run_at, rate, target, attempts)
        steps += tried
        step = tried[-1]
        if target.broken_by(step):
            broke = step
        else:
            held = rate
        if broke is None:
            if rate >= ceiling:
                return Knee(held, tuple(steps), f"not searched above {ceiling:g} requests/s", by_generator=False)
            rate = min(rate * growth, ceiling)
        elif broke.rate - held <= tolerance * broke.rate or broke.rate <= floor:
            limit = f"at {broke.rate:.4g} requests/s: {', '.join(target.broken_by(broke))}"
            return Knee(held, tuple(steps), limit, target.generator_to_blame(broke))
        else:
            rate = (held + broke.rate) / 2


def _tried(run_at: Callable[[float], Step], rate: float, target: Target, attempts: int) -> list[Step]:
    """Runs at one rate until it holds, at most `attempts`."""
    steps = [run_at(rate)]
    while target.broken_by(steps[-1]) and len(steps) < attempts:
        steps.append(run_at(rate))
    return steps
