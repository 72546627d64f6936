"""`recstack up`, `down`, `status` and `demo`: the whole stack on this machine."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from recstack import Client, RecStackError, ServerInfo, StackInfo
from recstack.cli.connection import load_settings
from recstack.cli.console import ConsoleReporter, stderr, stdout
from recstack.cli.tables import plain_table
from recstack.rpc.credentials import tls_to

if TYPE_CHECKING:
    from recstack.local import StackState
    from recstack.local.state import ProcessState


class Engine(StrEnum):
    """What runs the ranking service."""

    RAY = "ray"
    PLAIN = "plain"


RankingOption = Annotated[
    Engine | None,
    typer.Option("--ranking", help="Engine of the ranking service: Ray Serve, or plain gRPC, which starts faster."),
]


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is up; stop with recstack down.")
    ] = False,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Pick free ports, not the configured ones.")] = False,
    ranking: RankingOption = None,
) -> None:
    """Start Redis and the four services, wait until they are healthy, and load the features.

    Stays in the foreground until Ctrl-C, unless --detach is given. Uses the Redis at REDIS_URL if that is set.
    """
    from recstack.local import LocalStack, run_until_stopped, start_detached

    settings, console = load_settings(), stdout()
    reporter = ConsoleReporter(stderr())
    engine: Literal["ray", "plain"] | None = ranking.value if ranking else None
    if detach:
        print_stack(console, start_detached(settings, engine, free_ports, reporter))
        console.print("Try [bold]recstack recommend 42[/]. Stop it with [bold]recstack down[/].")
        return
    stack = LocalStack(settings, ranking=engine, free_ports=free_ports, reporter=reporter)

    def on_ready() -> None:
        print_stack(console, stack.state)
        console.print("Try [bold]recstack recommend 42[/] in another terminal. Stop it with [bold]Ctrl-C[/].")

    run_until_stopped(stack, reporter, on_ready)


def down() -> None:
    """Stop the local stack and wait until every process is gone."""
    from recstack import local

    stopped = local.down(load_settings())
    stdout().print("The stack is stopped." if stopped else "Nothing to stop: no local stack is up.")


def status() -> None:
    """Show each service's address, health and bundle. Exit status 1 unless all are healthy."""
    from recstack.local import StateFile

    console = stdout()
    settings = load_settings()
    state = StateFile(settings.home).running()
    if state is None:
        console.print(f"No local stack is up in {settings.home.resolve()}. Start it with [bold]recstack up[/].")
        raise typer.Exit(1)
    if not print_stack(console, state):
        raise typer.Exit(1)


def demo(
    full: Annotated[bool, typer.Option("--full/--quick", help="Train the best models, or for two minutes.")] = False,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train first, or use the active bundle.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up at the end, until Ctrl-C.")] = False,
    ranking: RankingOption = None,
) -> None:
    """Show everything once: train, start, recommend, explain, learn from an event, stop."""
    from recstack.cli.demo import Demo

    Demo(load_settings(), stdout(), ranking=ranking.value if ranking else None).run(
        preset="full" if full else "quick", train=train, keep=keep
    )


def print_stack(console: Console, state: "StackState") -> bool:
    """Print the processes of a stack, how they are and which bundle each serves; whether all are healthy."""
    from recstack.local.processes import is_alive

    info = _info(state.address("gateway"))
    versions = {_short_name(server): server.bundle_version for server in info.backends} if info else {}
    table = plain_table("service", "address", ">pid", "health", "bundle")
    all_healthy = True
    for process in state.processes:
        healthy = is_alive(process.pid) if process.name == "redis" else _is_serving(process)
        all_healthy &= healthy
        health = "[green]healthy[/]" if healthy else "[red]not healthy[/]"
        bundle = versions.get(process.name, "")
        table.add_row(process.name, process.address, str(process.pid), health, bundle)
    console.print(table)
    for server in info.backends if info else ():
        if server.last_refusal:
            console.print(f"[yellow]{_short_name(server)} refused a bundle[/]: {escape(server.last_refusal)}")
    minutes = (time.time() - state.started_at_ms / 1000) / 60
    logs = state.processes[0].log.parent
    console.print(f"[dim]Up for {minutes:.0f} min; supervisor pid {state.supervisor_pid}; logs in {logs}[/]")
    return all_healthy


def _is_serving(process: "ProcessState") -> bool:
    from recstack.rpc.probe import is_serving

    return is_serving(process.address, tls=tls_to(process.name.replace("-", "_"), load_settings()))


def _info(gateway: str) -> StackInfo | None:
    with Client(gateway, tls=tls_to("gateway", load_settings())) as client:
        try:
            return client.info()
        except RecStackError:
            return None  # the table says that the gateway is not healthy


def _short_name(server: ServerInfo) -> str:
    """For example "feature-store" of "recstack.feature_store"."""
    return server.service.removeprefix("recstack.").replace("_", "-")
