"""How often, and how soon, a process that died is started again."""

import time
from collections import defaultdict

from recstack.errors import StackError
from recstack.local.reporter import Reporter

_MOST = 5
_FORGET_SECONDS = 600.0


class Restarts:
    """Counts deaths per process; the pause doubles from 1 s with each death within ten minutes."""

    def __init__(self) -> None:
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    def pause(self, name: str, what: str, reporter: Reporter) -> None:
        """Report the death and wait before the restart; StackError after the fifth death within ten minutes.

        what: one clause, for example "ranking was killed by signal 9".
        """
        now = time.monotonic()
        recent = [moment for moment in self._times[name] if now - moment < _FORGET_SECONDS]
        self._times[name] = [*recent, now]
        if len(recent) >= _MOST:
            raise StackError(f"{what}, for the {len(recent) + 1}th time within ten minutes; giving up")
        seconds = 2.0 ** len(recent)
        reporter.step(f"{what}; starting it again in {seconds:g} s")
        time.sleep(seconds)
