"""Stands in for CUDA graphs where there is no GPU."""

from collections.abc import Callable


class EveryCall:
    """Stands in for CUDA graphs: what is recorded is run anew each time. Counts recordings, replays and waits."""

    pinned = False

    def __init__(self) -> None:
        self.recorded = self.replayed = self.waited = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay

    def wait(self) -> None:
        self.waited += 1
