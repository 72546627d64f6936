"""Command line of the load harness: `python -m tests.load run | knee`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from recstack.config import load_settings
from recstack.errors import RecStackError
from recstack.rpc.credentials import tls_to
from tests.load.arguments import parser, target_of, traffic_of
from tests.load.crew import Crew, CrewOptions, LoadError
from tests.load.knee import Knee, Step, Target, find_knee
from tests.load.place import Place, machine
from tests.load.report.files import write
from tests.load.report.tables import show, step_row
from tests.load.result import Result
from tests.load.traffic import RECOMMEND
from tests.load.worker import Closed, Open

_LIVE = "{:>10} {:>12} {:>9} {:>9} {:>8} {:>9} {:>9}   {}"
_LIVE_HEAD = ("requests/s", "Recommend/s", "p50 ms", "p99 ms", "errors", "degraded", "lag p99", "target")


def main(words: Sequence[str] | None = None) -> None:
    """Run what the arguments say; exits with 1 and a sentence when the load cannot be made."""
    arguments = parser().parse_args(words)
    console = Console(width=max(140, Console().width) if not sys.stdout.isatty() else None)
    try:
        result = drive(arguments, console)
    except (LoadError, RecStackError, ValueError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
    show(console, result)
    files = write(result, arguments.out)
    console.print(f"Written to {arguments.out}: {', '.join(path.name for path in files)}", highlight=False)


def drive(arguments: argparse.Namespace, console: Console) -> Result:
    """Find or start the gateway, make the load and return what it showed."""
    with _place(arguments) as place:
        options = CrewOptions(
            address=place.address,
            traffic=traffic_of(arguments, place.users),
            workers=arguments.workers,
            connections=arguments.connections,
            timeout=arguments.timeout,
            tls=tls_to("gateway", load_settings()),
        )
        console.print(f"{place.address}: {place.server}; {place.where}", highlight=False, soft_wrap=True)
        with Crew(options) as crew:
            session = LoadSession(crew, arguments, console)
            if arguments.command == "knee":
                knee, load, step = session.search()
            else:
                knee, (load, step) = None, session.once()
            return Result(place, options, machine(), load, step, session.target, knee)


class LoadSession:
    """The runs of one command, each printed as it ends."""

    def __init__(self, crew: Crew, arguments: argparse.Namespace, console: Console) -> None:
        self._crew, self._arguments, self._console = crew, arguments, console
        self.target: Target = target_of(arguments)

    def once(self) -> tuple[str, Step]:
        """`run`: one load, and how it went."""
        arguments = self._arguments
        load: Open | Closed = Closed(arguments.callers) if arguments.callers else Open(arguments.rate)
        name = f"{arguments.callers} callers" if arguments.callers else f"{arguments.rate:g} requests/s"
        self._print(*_LIVE_HEAD)
        return name, self._step(load, arguments.seconds)

    def search(self) -> tuple[Knee, str, Step]:
        """`knee`: the search, then a longer run below the knee, where percentiles mean most."""
        arguments = self._arguments
        self._print(*_LIVE_HEAD)
        knee = find_knee(
            lambda rate: self._step(Open(rate), arguments.seconds),
            self.target,
            start=arguments.start,
            tolerance=arguments.tolerance,
            attempts=arguments.attempts,
            ceiling=arguments.ceiling,
        )
        rate = arguments.soak_share * knee.rate or arguments.start
        name = f"{rate:.4g} requests/s"
        if knee.rate:
            name += f", {arguments.soak_share:.0%} of the knee"
        self._console.print(f"{arguments.soak:g} s at {name}:", highlight=False)
        return knee, name, self._step(Open(rate), arguments.soak)

    def _step(self, load: Open | Closed, seconds: float) -> Step:
        recording = self._crew.run(load, warm_up=self._arguments.warm_up, seconds=seconds)
        rate = load.rate if isinstance(load, Open) else recording.calls / recording.seconds
        step = Step.of(rate, recording, RECOMMEND)
        self._print(*step_row(step, self.target))
        return step

    def _print(self, *cells: str) -> None:
        self._console.print(_LIVE.format(*cells), highlight=False, markup=False)


@contextmanager
def _place(arguments: argparse.Namespace) -> Iterator[Place]:
    if arguments.target:
        yield Place.at(arguments.target, arguments.users or (1, 6000), tls=tls_to("gateway", load_settings()))
        return
    from tests.load.local import local_place  # it brings torch, which a load generator in a cluster does without

    with local_place(arguments.store, arguments.ranking, arguments.users) as place:
        yield place
