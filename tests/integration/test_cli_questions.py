"""Commands that ask the gateway: what they send, what people see, and how failures look."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner, Result

from recstack import config
from recstack.cli.app import app
from tests.helpers.fake_gateway import VERSION, FakeGateway, running_fake_gateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running_fake_gateway() as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def wide_terminal_and_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("RECSTACK_HOME", str(tmp_path))
    config.load_settings.cache_clear()
    yield
    config.load_settings.cache_clear()


def run(gateway: FakeGateway, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--gateway", gateway.address, "--timeout", "10"])


def test_recommend_shows_items_and_how_they_came_about(gateway: FakeGateway) -> None:
    result = run(gateway, "recommend", "42", "-k", "2")
    assert result.exit_code == 0, result.output
    for text in (
        "For user 42",
        "Seven [Director's Cut]",
        "1995",
        "Crime, Thriller",
        "two-tower, popular",
        "0.750",
        "12.5 ms in all",
        "sources 4.0 ▇▇▇▇  ",
        "score 8.0 ▇▇▇▇▇▇▇▇",
        "432 candidates · bundle 20260102-030405-abc123",
    ):
        assert text in result.output
    assert "sources/recall" not in result.output
    assert "cold start" not in result.output
    assert "degraded" not in result.output


def test_cold_start_and_degradation_are_marked(gateway: FakeGateway) -> None:
    gateway.cold_start, gateway.degraded = True, ["ranking: deadline exceeded, recall order used"]
    result = run(gateway, "recommend", "42")
    assert "cold start: this user has neither profile nor history" in result.output
    assert "degraded: ranking: deadline exceeded, recall order used" in result.output


def test_an_arm_that_is_no_bundle_is_shown(gateway: FakeGateway) -> None:
    assert "arm" not in run(gateway, "recommend", "42").output
    gateway.arm = "recall"
    assert f"bundle {VERSION} · arm recall · request" in run(gateway, "recommend", "42").output


def test_options_become_the_filter(gateway: FakeGateway) -> None:
    words = "recommend 42 --genre Comedy --genre Drama --not-genre War --min-year 1990 --max-year 1999 --allow-seen"
    assert run(gateway, *words.split()).exit_code == 0
    (request,) = gateway.requests
    assert (request.user_id, request.k) == (42, 10)
    assert list(request.filter.include_genres) == ["Comedy", "Drama"]
    assert list(request.filter.exclude_genres) == ["War"]
    assert (request.filter.min_year, request.filter.max_year, request.filter.allow_seen) == (1990, 1999, True)


def test_json_is_for_programs(gateway: FakeGateway) -> None:
    answer = json.loads(run(gateway, "recommend", "42", "--json").stdout)
    assert answer["items"][0] == {
        "item_id": 7,
        "title": "Seven [Director's Cut]",
        "year": 1995,
        "genres": ["Crime", "Thriller"],
        "score": 0.75,
        "channels": ["two_tower", "popular"],
        "arm": VERSION,
    }
    assert json.loads(run(gateway, "similar", "7", "--json").stdout)["items"][0]["item_id"] == 8
    assert json.loads(run(gateway, "explain", "42", "7", "--json").stdout)["items"][0]["position"] == 1


def test_similar_lists_neighbours(gateway: FakeGateway) -> None:
    result = run(gateway, "similar", "7")
    for text in ("Like item 7", "Eight", "1988", "Drama", "0.900"):
        assert text in result.output


def test_explain_tells_both_sides(gateway: FakeGateway) -> None:
    result = run(gateway, "explain", "42", "7", "9")
    for text in (
        "Item 7 (7): recommended at position 1; rating 0.750, rank 2 by score",
        "recalled by item-to-item at rank 3 (score 0.500), as a neighbour of item 11",
        "Eleven",
        "what moved the rating most",
        "+0.250",
        "-0.034",
        "Item 9 (9): not recommended, dropped: already_watched",
    ):
        assert text in result.output


def test_an_event_is_sent_once(gateway: FakeGateway) -> None:
    words = ["events", "send", "42", "7", "--type", "rating", "--rating", "5", "--event-id", "mine"]
    first, again = run(gateway, *words), run(gateway, *words)
    assert "Recorded: rating of item 7 by user 42 (event mine)." in first.output
    assert "Known already, nothing changed" in again.output
    assert list(gateway.requests[0].ratings) == [5.0]


def test_an_event_says_what_recommended_its_item(gateway: FakeGateway) -> None:
    words = "events send 42 7 --type click --channel two-tower --channel popular --arm recall"
    assert run(gateway, *words.split()).exit_code == 0
    (request,) = gateway.requests
    assert (list(request.channel_masks), list(request.arms)) == ([0b101], ["recall"])
    wrong = run(gateway, "events", "send", "42", "7", "--channel", "twotower")
    assert wrong.exit_code == 1
    assert "unknown channel 'twotower'; channels are two_tower," in wrong.stderr


@pytest.mark.parametrize("words", ["events send 42 7 --type rating", "events send 42 7 --type click --rating 5"])
def test_rating_and_its_type_go_together(gateway: FakeGateway, words: str) -> None:
    result = run(gateway, *words.split())
    assert result.exit_code == 1
    assert "give --rating with --type rating" in result.stderr
    assert not gateway.requests


def test_an_error_is_one_line_on_stderr(gateway: FakeGateway) -> None:
    gateway.failures.append((grpc.StatusCode.INVALID_ARGUMENT, "k is 999; it must be between 1 and 200"))
    result = run(gateway, "recommend", "42", "-k", "999")
    assert result.exit_code == 1
    assert result.stderr == "error: k is 999; it must be between 1 and 200\n"
    assert result.stdout == ""


def test_debug_shows_the_trace(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSTACK_DEBUG", "1")
    gateway.failures.append((grpc.StatusCode.NOT_FOUND, "no item 5"))
    assert "no item 5" in str(run(gateway, "similar", "5").exception)


def test_nobody_listening_says_to_start_it() -> None:
    result = CliRunner().invoke(app, ["recommend", "42", "--gateway", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "start one with `recstack up`" in result.stderr


def test_bad_usage_is_status_2(gateway: FakeGateway) -> None:
    assert run(gateway, "recommend", "somebody").exit_code == 2
    assert run(gateway, "recommend", "-3").exit_code == 2
    assert run(gateway, "recomend", "42").exit_code == 2


def test_bad_settings_are_named(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSTACK_GATEWAY__MAX_K", "many")
    result = CliRunner().invoke(app, ["recommend", "42"])
    assert result.exit_code == 1
    assert "gateway.max_k: Input should be a valid integer" in result.stderr
