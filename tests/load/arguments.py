"""Arguments of the load harness: each flag says what it does, in which unit, and what it is by default."""

import argparse
from pathlib import Path

from tests.load.knee import Target
from tests.load.traffic import EVENTS, EXPLAIN, MIX, RECOMMEND, SIMILAR, TrafficOptions

_DESCRIPTION = """Load for a RecStack gateway: users in sessions who are shown items, click some and come back.

Without --target a local stack is started for the run. With it, any gateway will do, on a laptop or in a cluster; mind
that events of made-up users are written there (--mix leaves RecordEvents out with a weight of 0)."""
_MIX_NAMES = {"recommend": RECOMMEND, "events": EVENTS, "similar": SIMILAR, "explain": EXPLAIN}


def parser() -> argparse.ArgumentParser:
    """Arguments of `run` and `knee`."""
    top = argparse.ArgumentParser(
        prog="python -m tests.load", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="run|knee")
    run = _command(commands, "run", "one load: a set rate (open loop) or so many callers (closed loop)")
    load = run.add_mutually_exclusive_group()
    load.add_argument("--rate", type=float, default=50.0, help="open loop: requests/s, Poisson arrivals")
    load.add_argument("--callers", type=int, help="closed loop: so many callers, each waits for its answer")
    run.add_argument("--seconds", type=float, default=30.0, help="length of the measurement")
    knee = _command(commands, "knee", "raise the rate until the target breaks, and find the highest that holds")
    knee.add_argument("--start", type=float, default=25.0, help="first rate, requests/s; doubled until it breaks")
    knee.add_argument("--seconds", type=float, default=10.0, help="length of each step")
    knee.add_argument("--tolerance", type=float, default=0.08, help="stop when the knee is known to this share")
    knee.add_argument("--attempts", type=int, default=2, help="runs that a rate gets to hold the target")
    knee.add_argument("--ceiling", type=float, default=100_000.0, help="highest rate that is tried, requests/s")
    knee.add_argument("--soak", type=float, default=30.0, help="seconds of the last run, below the knee")
    knee.add_argument("--soak-share", type=float, default=0.8, help="rate of the last run over that of the knee")
    return top


def _command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str):  # type: ignore[no-untyped-def]
    command = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    _place_arguments(command.add_argument_group("where the load goes"))
    _traffic_arguments(command.add_argument_group("traffic"))
    _generator_arguments(command.add_argument_group("load generator"))
    _target_arguments(command.add_argument_group("target, for Recommend"))
    command.add_argument("--warm-up", type=float, default=3.0, help="seconds before each measurement that do not count")
    command.add_argument("--out", type=Path, default=Path(".recstack/load"), help="folder for JSON, HTML and PNG files")
    return command


def _place_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--target", metavar="HOST:PORT", help="a gateway that runs; a local stack is started without")
    group.add_argument("--store", metavar="FOLDER", help="local stack: bundle store; invented items and users without")
    group.add_argument("--ranking", choices=["plain", "ray"], default="plain", help="local stack: ranking engine")


def _traffic_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--users", type=_user_range, metavar="A-B", help="known user ids; 1-6000 or the bundle's")
    group.add_argument("--zipf", type=float, default=0.9, help="exponent of users' activity; 0 makes all alike")
    group.add_argument("--unknown", type=float, default=0.05, help="share of sessions of unknown users")
    mix = ",".join(f"{short}={MIX[name]:g}" for short, name in _MIX_NAMES.items())
    group.add_argument("--mix", type=_mix, default=mix, metavar="RPC=WEIGHT,...", help="how often each RPC is called")
    group.add_argument("--k", type=int, default=20, help="items per page")
    group.add_argument("--session", type=float, default=4.0, help="pages per session, mean")
    group.add_argument("--click-rate", type=float, default=0.3, help="clicks on the item shown first")
    group.add_argument("--position-bias", type=float, default=1.0, help="clicks fall with position ** -this")
    group.add_argument("--seed", type=int, default=0, help="of users, clicks, arrivals and event ids")


def _generator_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=int, default=2, help="processes")
    group.add_argument("--connections", type=int, default=4, help="connections per process")
    group.add_argument("--timeout", type=float, default=1.0, help="deadline of each call, seconds")


def _target_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--p99", type=float, default=100.0, help="milliseconds, from the intended send")
    group.add_argument("--errors", type=float, default=0.1, help="per cent of all calls")
    group.add_argument("--degraded", type=float, default=1.0, help="per cent of answers")


def traffic_of(arguments: argparse.Namespace, users: tuple[int, int]) -> TrafficOptions:
    """The traffic that the arguments ask for. Raises ValueError."""
    return TrafficOptions(
        users=users,
        zipf=arguments.zipf,
        unknown_share=arguments.unknown,
        mix=arguments.mix,
        k=arguments.k,
        session_pages=arguments.session,
        click_rate=arguments.click_rate,
        position_bias=arguments.position_bias,
        seed=arguments.seed,
    )


def target_of(arguments: argparse.Namespace) -> Target:
    """The target that the arguments ask for."""
    return Target(p99_ms=arguments.p99, error_share=arguments.errors / 100, degraded_share=arguments.degraded / 100)


def _user_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of user ids such as 1-6000")
    return int(first), int(last)


def _mix(text: str) -> dict[str, float]:
    try:
        weights = {name.strip(): float(weight) for name, weight in (part.split("=") for part in text.split(","))}
        return {_MIX_NAMES[name]: weight for name, weight in weights.items()}
    except (ValueError, KeyError):
        example = f"use {', '.join(_MIX_NAMES)}, for example recommend=5,events=4"
        raise argparse.ArgumentTypeError(f"{text!r} is not a mix of weights: {example}") from None
