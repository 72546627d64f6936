"""The command line: what is said reaches the options, and what cannot be is told."""

import argparse
import re
from pathlib import Path

import pytest

from tests.load.arguments import parser, target_of, traffic_of
from tests.load.knee import Target
from tests.load.traffic import EVENTS, MIX, RECOMMEND, TrafficOptions


def parse(*words: str) -> argparse.Namespace:
    return parser().parse_args(words)


def test_defaults_are_those_of_the_options() -> None:
    arguments = parse("knee")
    assert traffic_of(arguments, (1, 9)) == TrafficOptions(users=(1, 9), mix=dict(MIX))
    assert target_of(arguments) == Target()


def test_what_is_said_is_used() -> None:
    place = "run --target host:1 --rate 7.5 --users 10-20 --mix recommend=2,events=1 --zipf 0.5 --unknown 0.25 --k 3"
    users = "--session 2 --click-rate 0.1 --position-bias 2 --seed 9 --p99 50 --errors 2 --degraded 5"
    arguments = parse(*place.split(), *users.split())
    traffic = traffic_of(arguments, arguments.users)
    assert traffic.users == (10, 20)
    assert traffic.mix == {RECOMMEND: 2, EVENTS: 1}
    assert (traffic.zipf, traffic.unknown_share, traffic.k, traffic.session_pages) == (0.5, 0.25, 3, 2)
    assert (traffic.click_rate, traffic.position_bias, traffic.seed) == (0.1, 2, 9)
    assert target_of(arguments) == Target(p99_ms=50, error_share=0.02, degraded_share=0.05)
    assert arguments.rate == 7.5


@pytest.mark.parametrize(
    "words",
    [
        "run --users 5-1",
        "run --users five",
        "run --mix recommend",
        "run --mix watch=3",
        "run --rate 5 --callers 3",
        "walk",
        "",
    ],
)
def test_what_cannot_be_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(*words.split())
    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_help_explains_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "knee"):
        with pytest.raises(SystemExit):
            parse(command, "--help")
        text = capsys.readouterr().out
        assert "requests/s" in text
        assert "intended send" in text


def test_every_command_in_the_documentation_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/load.md").read_text()
    commands = re.findall(r"^python -m tests\.load (.+)$", page, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        arguments = parse(*command.split())
        traffic_of(arguments, (1, 9))
        target_of(arguments)
    with pytest.raises(SystemExit):
        parse("knee", "--help")
    known = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    assert set(re.findall(r"`(--[a-z0-9-]+)`", page)) <= known
