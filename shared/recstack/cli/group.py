"""The top of the command tree: expected errors become one line, and plug-ins are loaded only to be run."""

import ast
import os
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from recstack.cli.console import print_error
from recstack.errors import RecStackError

if TYPE_CHECKING:
    from typer._click import Command, Context

_PLUGINS = "recstack.commands"
_PANEL = "Models and features"


class RecStackGroup(TyperGroup):
    """Adds each entry point of the group `recstack.commands` (name = module:function) as a command.

    A RecStackError ends a command with one line on stderr and exit status 1; RECSTACK_DEBUG=1 shows the stack trace
    instead.
    """

    def invoke(self, ctx: "Context") -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RecStackError as error:
            if os.environ.get("RECSTACK_DEBUG"):
                raise
            print_error(str(error))
            raise typer.Exit(1) from error

    def list_commands(self, ctx: "Context") -> list[str]:
        """The stack's commands, then the plug-ins."""
        return [*super().list_commands(ctx), *_plugins()]

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        """A command; a plug-in as a stand-in that only knows its name and its line in the help."""
        plugin = _plugins().get(cmd_name)
        if plugin is None or cmd_name in self.commands:
            return super().get_command(ctx, cmd_name)
        return TyperCommand(cmd_name, help=_docstring(plugin), rich_help_panel=_PANEL)

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, Command | None, list[str]]":
        """The command to run; here a plug-in is really loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands and name in _plugins():
            command = _load(_plugins()[name])
        return name, command, rest


def _plugins() -> dict[str, EntryPoint]:
    return {plugin.name: plugin for plugin in entry_points(group=_PLUGINS)}


def _load(plugin: EntryPoint) -> "Command":
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(plugin.name)(plugin.load())
    return typer.main.get_command(app)


def _docstring(plugin: EntryPoint) -> str:
    """Documentation of a plug-in's function, read from source: importing the trainer imports torch, which is slow."""
    spec = find_spec(plugin.module)
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == plugin.attr:
            return ast.get_docstring(node) or ""
    return ""
