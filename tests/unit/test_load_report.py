"""How a result is shown: tables, JSON, plots and a page that needs nothing else."""

import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from tests.load.crew import CrewOptions
from tests.load.knee import Knee, Step, Target, find_knee
from tests.load.place import Place
from tests.load.recorder import OUT_OF_TIME, Call, Histogram, Recorder
from tests.load.report.files import write
from tests.load.report.percentile_curves import curve, share_ticks
from tests.load.report.stages_by_rate import layers
from tests.load.report.tables import show
from tests.load.report.waterfall import BETWEEN, CLIENT, WAY, bars
from tests.load.result import Result, headline, stage_names, to_json
from tests.load.traffic import EVENTS, RECOMMEND, TrafficOptions

STAGES = {
    "hydrate/user_features.redis": 1.0,
    "hydrate/user_features": 2.0,
    "hydrate": 3.0,
    "score/ranking": 9.0,
    "score": 10.0,
    "total": 15.0,
}


def step_at(rate: float, *, capacity: float = 100.0, seconds: float = 2.0) -> Step:
    """A made-up server that is as slow as it is loaded, refuses and degrades above its capacity."""
    recorder = Recorder(0.0, seconds)
    latency_ms = 20.0 / (1 - rate / capacity) if rate < capacity else 1000.0
    for number in range(int(rate * seconds)):
        sent = number / rate
        failed = rate >= capacity and number % 3 == 0
        for rpc, error in (
            (RECOMMEND, OUT_OF_TIME if failed else ""),
            (EVENTS, "RESOURCE_EXHAUSTED" if failed else ""),
        ):
            degraded = ("ranking",) if rate >= capacity and rpc == RECOMMEND else ()
            stages = STAGES if rpc == RECOMMEND and not failed else {}
            finished = sent + latency_ms / 1000
            recorder.record(Call(rpc, sent, sent + 0.0005, finished, error, degraded, stages))
    recorder.recording.counts.update({"sessions": 3, "<b>bold</b>": 1})
    return Step.of(rate, recorder.recording, RECOMMEND)


@cache
def searched() -> Knee:
    return find_knee(step_at, Target(), start=25)


def result(**changes: Any) -> Result:
    place = Place("127.0.0.1:1", (1, 100), "RecStack 1, bundle <x&y>", "a gateway that was running")
    options = CrewOptions(address=place.address, traffic=TrafficOptions(users=place.users))
    whole = {"knee": searched(), "step": step_at(40.0), "load": "40 requests/s"} | changes
    return Result(place=place, options=options, machine="a machine", target=Target(), **whole)


def table(shown: Result) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(console, shown)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_table_tells_the_knee_the_steps_and_every_kind_of_trouble() -> None:
    text = table(result())
    assert re.search(r"Knee: 7\d(\.\d+)? requests/s", text)
    assert "holds" in text
    assert re.search(r"error DEADLINE_EXCEEDED .*[1-9]", text)
    assert re.search(r"error RESOURCE_EXHAUSTED .*[1-9]", text)
    assert re.search(r"degraded ranking .*[1-9]", text)
    assert re.search(r"score/ranking .*9\.0\d / 9\.0\d", text)


def test_a_late_load_generator_is_named() -> None:
    def late(rate: float) -> Step:
        step = step_at(rate)
        return Step(rate, 150.0, lag_p99_ms=60.0, recording=step.recording)

    assert "load generator late: p99 60 ms" in table(result(knee=None, step=late(40.0)))
    blamed = find_knee(lambda rate: late(rate) if rate > 30 else step_at(rate), start=20)
    assert blamed.by_generator
    assert "the load generator was late" in headline(result(knee=blamed))


def test_json_holds_everything_and_histograms_can_be_read_back() -> None:
    shown = result()
    read = json.loads(json.dumps(to_json(shown)))
    assert read["knee"]["rate"] == shown.knee.rate  # type: ignore[union-attr]
    assert sorted(step["rate"] for step in read["steps"]) == [step.rate for step in shown.steps]
    recommend = read["run"]["rpcs"][RECOMMEND]
    assert Histogram.decode(recommend["hdr"]).percentile(99) == recommend["latency_ms"]["p99"]
    assert sum(tick["calls"] for tick in read["run"]["timeline"]) == 2 * recommend["calls"]
    assert read["run"]["stages_ms"]["score"]["p50"] == pytest.approx(10.0, rel=2e-3)


def test_all_files_are_written_and_the_page_needs_no_network(tmp_path: Path) -> None:
    paths = write(result(), tmp_path / "new" / "folder")
    names = {path.name for path in paths}
    plots = {"latency-by-rate.png", "stages-by-rate.png", "percentiles.png", "waterfall.png", "timeline.png"}
    assert names == {"result.json", "report.html", *plots}
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 1200
                assert image.getextrema() != ((255, 255),) * 4, "something was drawn"
    page = (tmp_path / "new/folder/report.html").read_text()
    assert_self_contained(page)
    assert page.count("<svg") == len(plots)
    assert "&lt;x&amp;y&gt;" in page
    assert "<x&y>" not in page


def assert_self_contained(page: str) -> None:
    """Nothing that a browser would fetch: links point into the page, and there are no scripts, styles or pictures."""
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b|@import|@font-face", page)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]+)\)", page))


@pytest.mark.parametrize("step", [step_at(40.0), step_at(150.0), Step.of(1.0, Recorder(0.0, 2.0).recording, RECOMMEND)])
def test_any_single_run_can_be_shown_even_an_empty_one(tmp_path: Path, step: Step) -> None:
    shown = result(knee=None, step=step)
    assert table(shown)
    write(shown, tmp_path)
    assert not (tmp_path / "latency-by-rate.png").exists()


def test_a_search_in_which_nothing_held_can_be_shown(tmp_path: Path) -> None:
    hopeless = find_knee(lambda rate: step_at(rate, capacity=0.5), start=8)
    shown = result(knee=hopeless)
    assert "No rate held the target" in table(shown)
    write(shown, tmp_path)


def test_stages_come_in_the_order_in_which_they_run_with_their_parts_below() -> None:
    names = stage_names(result().recording)
    assert names == [
        "hydrate",
        "hydrate/user_features",
        "hydrate/user_features.redis",
        "score",
        "score/ranking",
        "total",
    ]


def test_the_waterfall_adds_up() -> None:
    lines = {bar.name: bar for bar in bars(result().recording)}
    assert lines["score"].start == pytest.approx(lines["hydrate"].length) == pytest.approx(3.0, rel=2e-3)
    assert lines["score/ranking"].start == lines["score"].start
    assert lines["hydrate/user_features.redis"].depth == 2
    parts = sum(lines[name].length for name in ("hydrate", "score", BETWEEN, WAY))
    assert parts == pytest.approx(lines[CLIENT].length, rel=1e-6)


def test_small_stages_are_drawn_together() -> None:
    recorder = Recorder(0.0, 1.0)
    recorder.record(Call(RECOMMEND, 0.0, 0.0, 0.1, stages={"a": 0.1, "score": 50.0, "b": 0.2, "total": 51.0}))
    drawn = layers([recorder.recording])
    assert list(drawn) == ["score", "other"]
    assert drawn["other"] == [pytest.approx(0.3, rel=1e-2)]


def test_percentile_curves_have_as_much_room_for_each_nine() -> None:
    histogram = Histogram()
    for value in range(1, 1001):
        histogram.record(float(value))
    over, values = curve(histogram)
    assert over[0] == 1
    assert over[-1] == pytest.approx(1000)
    assert values == sorted(values)
    assert values[-1] == pytest.approx(999, abs=2)
    assert share_ticks(4)[1] == ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
