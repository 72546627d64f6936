"""`recstack data`: look at a dataset before an hour of training, and write one as Parquet."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from recstack.cli.connection import load_settings
from recstack.cli.console import stderr, stdout

app = typer.Typer(no_args_is_help=True, help="Datasets: check, convert.")

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}

_Dataset = Annotated[str, typer.Option("--dataset", help="auto, ml-1m or synthetic; not used with a PATH.")]


@app.callback()
def group() -> None:
    """Datasets: check, convert."""


@app.command()
def validate(
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="A dataset.yaml, its folder, or a folder of .dat files.")
    ] = None,
    dataset: _Dataset = "auto",
) -> None:
    """Report what is wrong with a dataset: duplicates, time travel, unknown ids, constant columns, leakage suspects.

    Ends with status 1 where there is an error.
    """
    from recstack.data.description import find_description
    from recstack.data.resolve import resolve_dataset
    from recstack.data.validation import Severity, check_dataset
    from recstack.data.validation_files import validate_described

    console = stdout()
    description = find_description(path) if path else None
    if description:
        findings = validate_described(description)
    else:
        findings = check_dataset(resolve_dataset(dataset, path, load_settings().home, log=stderr().print))
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        colour = _COLOURS[finding.severity]
        text = f"{escape(finding.message)}\n[dim]{escape(finding.advice)}[/]"
        table.add_row(f"[{colour}]{finding.severity}[/]", escape(finding.where), text)
    console.print(table)
    counts = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    console.print(", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()))
    if counts[Severity.ERROR]:
        raise typer.Exit(1)


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write Parquet files and dataset.yaml.")],
    path: Annotated[Path | None, typer.Option("--data-path", help="The dataset to read; see validate.")] = None,
    dataset: _Dataset = "auto",
) -> None:
    """Write a dataset as Parquet files with their description: a template for your own, and what can be streamed."""
    from recstack.data.parquet import write_parquet
    from recstack.data.resolve import resolve_dataset

    data = resolve_dataset(dataset, path, load_settings().home, log=stderr().print)
    stdout().print(f"Written: {write_parquet(data, folder)}", soft_wrap=True)
