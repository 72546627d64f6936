"""Requests per second through Ray Serve as RecStack sets it up, through Serve as it comes, and through plain grpc.aio.

Nothing is scored: a Rank request with 50 history events and 500 candidates is answered at once with 500 scores, so that
only the way to the replica and back is measured. Ours is HAProxy in front of a replica in throughput mode without
access log (`services.ranking.ray_environment`, `serve_app`); the defaults are Serve's own proxy, router and replica.

Why it is fair: same messages, same replica code, one replica, the same client in the same run. All servers are up all
the time and take turns, in an order that rotates. The client and the server share the machine, and at plain grpc.aio's
rates the client is the limit.

How to read it: requests/s are medians of turns. CPU milliseconds are of all processes of a side, per request.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from time import perf_counter

import grpc.aio
import psutil
from rich.console import Console

from recstack.api.common.v1 import common_pb2
from recstack.api.ranking.v1 import ranking_pb2
from recstack.local.processes import family
from recstack.ports import free_port
from recstack.rpc.channel import aio_channel
from tests.bench import ray_noop
from tests.bench.harness import Comparison, Report, Side, interleave, main
from tests.bench.noop_server import Hop, noop_server, run_on_uvloop
from tests.bench.traffic import Closed

GOAL = 5.0
METHOD = "/recstack.api.ranking.v1.RankingService/Rank"
REQUESTS = {1: 150, 8: 400, 32: 800}
"""Requests per turn, by callers at a time."""
SHORT_REQUESTS = {1: 10, 8: 20}
ATTEMPT_SECONDS = 20.0
STOP_SECONDS = 30.0


def run(console: Console, short: bool) -> Report:
    """Start the three servers, and measure them in turns at each number of callers."""
    requests, rounds = (SHORT_REQUESTS, 1) if short else (REQUESTS, 7)
    with ray_server("ours") as ours, ray_server("defaults") as defaults, noop_server([noop_hop()]) as plain:
        servers = {"ours": ours, "Serve defaults": defaults, "plain grpc.aio": (plain.port, plain.pid)}
        return measure(console, servers, requests, rounds)


def measure(
    console: Console, servers: Mapping[str, tuple[int, int]], requests: Mapping[int, int], rounds: int
) -> Report:
    """Compare the server "ours" with the others, given as port and process id. requests: see REQUESTS."""
    report = Report("Ray Serve path: requests/s on a no-op scorer")
    for callers, count in requests.items():
        turns = {name: _Turns(port, pid, callers, count) for name, (port, pid) in servers.items()}
        sides: dict[str, Side] = dict(turns)
        rates = {name: 1 / sample.median for name, sample in interleave(sides, rounds, warm_up=1).items()}
        what = f"{callers} at a time"
        for other, goal in (("Serve defaults", GOAL), ("plain grpc.aio", None)):
            report.comparisons.append(Comparison.more(what, "requests/s", rates["ours"], other, rates[other], goal))
        cpu_ms = {name: turn.cpu_ms_per_request for name, turn in turns.items()}
        report.details[what] = {"requests_per_second": rates, "cpu_ms_per_request": cpu_ms}
        console.print(f"{what}: CPU ms per request {cpu_ms}", highlight=False)
    return report


def noop_hop() -> Hop:
    """The RPC as a server answers it that does nothing."""
    return Hop("rank", METHOD, rank_request(), ranking_pb2.RankResponse(scores=[0.5] * ray_noop.SCORES))


def rank_request() -> ranking_pb2.RankRequest:
    """What the gateway sends."""
    history = common_pb2.History(
        item_ids=range(1, 51), timestamps_ms=[978_300_000_000 + step for step in range(50)], ratings=[4.0] * 50
    )
    return ranking_pb2.RankRequest(user_id=7, history=history, item_ids=range(1, 501), budget_ms=1000)


@contextmanager
def ray_server(setup: ray_noop.Setup) -> Iterator[tuple[int, int]]:
    """Port and process id of a Ray Serve of its own, started and answering."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=ray_noop.serve, args=(setup, f"127.0.0.1:{port}"))
    process.start()
    try:
        run_on_uvloop(_first_answer(port, process))
        assert process.pid is not None
        yield port, process.pid
    finally:
        process.terminate()
        process.join(STOP_SECONDS)
        process.kill()


class _Turns:
    """Turns of one side: each asks `requests` times and is the seconds per request."""

    def __init__(self, port: int, pid: int, callers: int, requests: int) -> None:
        self._port, self._pid, self._callers, self._requests = port, pid, callers, requests
        self._cpu_seconds = 0.0
        self._asked = 0

    @property
    def cpu_ms_per_request(self) -> float:
        """CPU milliseconds of all the side's processes, mean over all turns."""
        return round(self._cpu_seconds / self._asked * 1e3, 3)

    def __call__(self) -> float:
        processes = family([self._pid])
        before = _cpu_seconds(processes)
        seconds = run_on_uvloop(self._drive())
        self._cpu_seconds += _cpu_seconds(processes) - before
        self._asked += self._requests
        return seconds / self._requests

    async def _drive(self) -> float:
        request = rank_request()
        async with aio_channel(f"127.0.0.1:{self._port}") as channel:
            rank = _rank(channel)
            await rank(request, timeout=30.0)  # connects
            started = perf_counter()
            await Closed(self._callers).drive(lambda: rank(request, timeout=30.0), self._requests)
            return perf_counter() - started


async def _first_answer(port: int, process: SpawnProcess) -> None:
    """Return once a Rank is answered; ChildProcessError when the server ends before."""
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        while True:
            try:
                await _rank(channel)(rank_request(), timeout=ATTEMPT_SECONDS, wait_for_ready=True)
            except grpc.aio.AioRpcError:
                if not process.is_alive():
                    raise ChildProcessError("Ray Serve did not start; its words are above") from None
            else:
                return


def _rank(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable:
    return channel.unary_unary(
        METHOD,
        request_serializer=ranking_pb2.RankRequest.SerializeToString,
        response_deserializer=ranking_pb2.RankResponse.FromString,
    )


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


if __name__ == "__main__":
    main(run, "tests.bench.ray_serve", __doc__)
