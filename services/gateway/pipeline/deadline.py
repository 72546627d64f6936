"""Deadlines that can be split across the hops of a request."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point of the monotonic clock, seconds, by which an answer is due."""

    expires_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.expires_at - time.monotonic())

    def part(self, share: float, reserve: float) -> "Deadline":
        """A component's own deadline: `share` (0..1] of what is left after keeping back `reserve` seconds."""
        return Deadline.after(max(0.0, self.remaining() - reserve) * share)
