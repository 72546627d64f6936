"""The load harness against real servers: what it feeds back counts, what goes wrong is told, and it cleans up."""

import json
import multiprocessing
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from feature_store_kit import item_chunk, load, running_store, user_chunk

from recstack.api.features.v1 import features_pb2
from recstack.api.gateway.v1 import gateway_pb2
from recstack.ports import free_port
from tests.bench.world import make_world
from tests.helpers.fake_gateway import FakeGateway, running_fake_gateway
from tests.helpers.gateway_stack import CATALOGUE, Stack, running_stack
from tests.load.cli import main
from tests.load.crew import Crew, CrewOptions, LoadError
from tests.load.gateway import Gateway
from tests.load.recorder import Recording
from tests.load.traffic import EVENTS, RECOMMEND, Traffic, TrafficOptions
from tests.load.worker import Closed, Driver, Open, Window

USERS = (1, 5)
PATIENCE = 20.0


@pytest.fixture
async def stack(redis_url: str) -> AsyncIterator[Stack]:
    """A real gateway on a real feature store and a real Redis; recall and ranking are programmed."""
    async with running_store(redis_url) as store:
        await load(store, item_chunk(CATALOGUE), *(user_chunk(user, (1, 3, 4, 5)) for user in USERS))
        async with running_stack(feature_store=store.address) as stack:
            yield stack


async def drive(address: str, load: Open | Closed, options: TrafficOptions, seconds: float = 1.5) -> Recording:
    """One window of one worker, without its process."""
    async with Gateway(address, connections=2, k=options.k, timeout=PATIENCE) as gateway:
        await gateway.connect()
        driver = Driver(gateway, Traffic(options, "test"), "test")
        return await driver.drive(Window(load, time.monotonic(), warm_up=0.0, seconds=seconds, number=1))


async def test_clicks_are_fed_back_and_what_was_clicked_is_not_shown_again(stack: Stack, redis_url: str) -> None:
    options = TrafficOptions(
        users=USERS, k=3, unknown_share=0.3, click_rate=1.0, session_pages=1000, mix={RECOMMEND: 1, EVENTS: 1}
    )
    recording = await drive(f"127.0.0.1:{stack.gateway.port}", Closed(2), options)

    assert recording.errors == {}
    assert recording.counts["clicks"] > 5
    assert recording.counts["events"] > recording.counts["clicks"]
    assert recording.counts["events known before"] == 0
    assert recording.counts["seen again"] == 0
    async with running_store(redis_url) as store:
        clicked = 0
        for user in range(USERS[0], USERS[1] + 1):
            known = await store.stub.GetUser(features_pb2.GetUserRequest(user_id=user, history_length=100))
            shown = await stack.stub.Recommend(gateway_pb2.RecommendRequest(user_id=user, k=40))
            assert not set(known.seen_item_ids) & set(shown.item_ids)
            clicked += len(known.seen_item_ids)
    assert clicked > 0, "the harness wrote histories"


async def test_the_same_seed_again_repeats_event_ids_and_says_so(stack: Stack) -> None:
    options = TrafficOptions(users=USERS, k=3, unknown_share=0, mix={RECOMMEND: 1, EVENTS: 1})
    address = f"127.0.0.1:{stack.gateway.port}"
    first = await drive(address, Closed(1), options)
    again = await drive(address, Closed(1), options)
    assert first.counts["events known before"] == 0
    assert again.counts["events known before"] > 0


async def test_stages_and_degraded_answers_of_a_real_gateway_are_recorded(redis_url: str) -> None:
    async with running_stack(down=("ranking",)) as stack:
        options = TrafficOptions(users=USERS, k=3, mix={RECOMMEND: 1})
        recording = await drive(f"127.0.0.1:{stack.gateway.port}", Closed(1), options, seconds=0.5)
    assert recording.degraded_share(RECOMMEND) == 1.0
    assert set(recording.degraded) == {"ranking"}
    assert {"hydrate", "sources", "score", "total"} <= set(recording.stages)


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    with running_fake_gateway() as gateway:
        yield gateway


def crew_options(address: str, **changes: object) -> CrewOptions:
    return CrewOptions(**{"address": address, "traffic": TrafficOptions(users=(1, 100)), "timeout": PATIENCE} | changes)  # type: ignore[arg-type]


def test_worker_processes_share_the_rate_and_every_call_is_recorded_once(fake: FakeGateway) -> None:
    fake.failures.extend([(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")] * 3)
    with Crew(crew_options(fake.address)) as crew:
        fake.requests.clear()
        opened = crew.run(Open(100.0), warm_up=0.0, seconds=1.0)
        arrived = len(fake.requests)
        closed = crew.run(Closed(3), warm_up=0.2, seconds=0.5)
    assert opened.calls == arrived > 50
    assert opened.errors == {"RESOURCE_EXHAUSTED": 3}
    assert opened.stages["score"].percentile(50) == pytest.approx(8.0, rel=2e-3)
    assert closed.calls > 3
    assert closed.lag.count == closed.calls
    names = {event_id for request in fake.requests for event_id in getattr(request, "event_ids", ())}
    assert {name.rpartition("-")[0] for name in names} == {"0-w0", "0-w1"}
    assert multiprocessing.active_children() == []


def test_items_that_come_back_after_their_use_are_noticed(fake: FakeGateway) -> None:
    """The fake shows the same two items for ever: the check that finds nothing in a real stack can find something."""
    traffic = TrafficOptions(users=(1, 9), click_rate=1.0, session_pages=50, mix={RECOMMEND: 1, EVENTS: 1})
    with Crew(crew_options(fake.address, workers=1, traffic=traffic)) as crew:
        recording = crew.run(Closed(1), warm_up=0.0, seconds=1.0)
    assert recording.counts["seen again"] > 0


def test_nobody_at_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as failed:
        main(["run", "--target", f"127.0.0.1:{free_port()}"])
    assert failed.value.code == 1
    assert "no gateway answers at 127.0.0.1:" in capsys.readouterr().out


def test_a_worker_that_dies_ends_the_run_and_leaves_nothing(fake: FakeGateway) -> None:
    with Crew(crew_options(fake.address)) as crew:
        next(child for child in multiprocessing.active_children() if child.name == "load-1").kill()
        with pytest.raises(LoadError, match="load-1 died"):
            crew.run(Open(10.0), warm_up=0.0, seconds=0.5)
    assert multiprocessing.active_children() == []


def test_the_command_finds_a_knee_and_writes_everything(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = "--seconds 0.5 --warm-up 0.2 --soak 1 --start 20 --ceiling 40 --timeout 20 --p99 20000 --workers 1"
    main(["knee", "--target", fake.address, "--out", str(tmp_path), *short.split()])
    text = capsys.readouterr().out
    assert "Knee: 40 requests/s" in text
    assert "Not searched above 40 requests/s" in text
    read = json.loads((tmp_path / "result.json").read_text())
    assert [step["rate"] for step in read["steps"]] == [20, 40]
    assert read["run"]["rate"] == 32
    assert read["place"]["server"].startswith("RecStack 0.1.0, bundle 2026")
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert (tmp_path / "latency-by-rate.png").exists()


def test_a_local_stack_is_started_for_the_run_and_serves_it_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    store = make_world(tmp_path / "world", items=200, users=20, history=10).bundle_store
    short = "--rate 10 --seconds 2 --timeout 20 --k 5"
    main(["run", "--store", store, "--out", str(tmp_path), *short.split()])
    assert "a local stack that shares" in capsys.readouterr().out
    run = json.loads((tmp_path / "result.json").read_text())["run"]
    assert run["error_share"] == run["degraded_share"] == run["counts"]["seen again"] == 0
    assert run["counts"]["events"] > 0
    assert run["stages_ms"]["score/ranking.compute"]["p50"] > 0
