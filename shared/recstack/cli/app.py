"""The command tree. Commands load what they need when they run, so that `recstack --help` answers at once."""

import os
import sys

import typer

import recstack
from recstack.cli import bundle, data, events, features, recommend, stack
from recstack.cli.console import print_error
from recstack.cli.group import RecStackGroup

app = typer.Typer(
    cls=RecStackGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", is_eager=True, help="Show the version and exit."),
) -> None:
    """A recommender on your machine: train it, start it, ask it.

    First time? [bold]recstack demo[/] does all of it once.

    Then: [bold]recstack train[/], [bold]recstack up -d[/], [bold]recstack recommend 42[/], [bold]recstack down[/].
    """
    if version:
        typer.echo(f"recstack {recstack.__version__}")
        raise typer.Exit


_STACK, _ASK, _MODELS = "Run the stack", "Ask it", "Models and features"

app.command(rich_help_panel=_STACK)(stack.demo)
app.command(rich_help_panel=_STACK)(stack.up)
app.command(rich_help_panel=_STACK)(stack.status)
app.command(rich_help_panel=_STACK)(stack.down)
app.command(rich_help_panel=_ASK)(recommend.recommend)
app.command(rich_help_panel=_ASK)(recommend.similar)
app.command(rich_help_panel=_ASK)(recommend.explain)
app.add_typer(events.app, name="events", rich_help_panel=_ASK)
app.add_typer(bundle.app, name="bundle", rich_help_panel=_MODELS)
app.add_typer(data.app, name="data", rich_help_panel=_MODELS)
app.add_typer(features.app, name="features", rich_help_panel=_MODELS)


def main() -> None:
    """Entry point of the `recstack` command. What nobody expected is one line too; RECSTACK_DEBUG=1 shows the trace."""
    try:
        app()
    except Exception as error:
        if os.environ.get("RECSTACK_DEBUG"):
            raise
        print_error(f"unexpected {type(error).__name__}: {error}; set RECSTACK_DEBUG=1 to see where")
        sys.exit(1)
