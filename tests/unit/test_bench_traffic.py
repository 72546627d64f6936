"""Parts of the end-to-end benchmarks: drivers ask as often as told, no-op servers answer with what was prepared."""

import asyncio

import pytest

from recstack.api.ranking.v1 import ranking_pb2
from recstack.rpc.channel import aio_channel
from tests.bench.noop_server import Hop, noop_server, run_on_uvloop
from tests.bench.traffic import Closed, Open


@pytest.mark.parametrize(("traffic", "together"), [(Closed(3), 3), (Open(10_000.0), 10)])
async def test_traffic_asks_as_often_as_told(traffic: Closed | Open, together: int) -> None:
    """Callers never exceed their number; at a set rate a slow answer holds up nobody."""
    asked = now = most = 0

    async def ask() -> None:
        nonlocal asked, now, most
        asked, now = asked + 1, now + 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    await traffic.drive(ask, 40)
    assert asked == 40
    assert most <= together if isinstance(traffic, Closed) else most >= together


async def test_an_answer_that_fails_fails_the_run() -> None:
    """A benchmark must not time errors."""

    async def ask() -> None:
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await Closed(2).drive(ask, 4)
    with pytest.raises(ExceptionGroup):
        await Open(1000.0).drive(ask, 4)


def test_noop_server_answers_with_what_was_prepared_and_counts_its_cpu() -> None:
    """The floor's RPCs carry the messages that they were given."""
    response = ranking_pb2.RankResponse(scores=[0.5, 0.25], bundle_version="prepared")
    hop = Hop("ranking", "/recstack.api.ranking.v1.RankingService/Rank", ranking_pb2.RankRequest(), response)

    async def ask(port: int) -> object:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            return await server.calls(channel)["ranking"]()

    with noop_server([hop]) as server:
        before = server.cpu_seconds()
        assert run_on_uvloop(ask(server.port)) == response
        assert server.cpu_seconds() > before
