"""The `recstack` command."""

from recstack.cli.app import main

__all__ = ["main"]
