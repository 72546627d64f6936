"""`recstack evaluate`: every protocol's table, with baselines of the same run and published figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from recstack.bundle import Bundle, BundleStore
from recstack.config import load_settings
from recstack.data import Dataset, resolve_dataset
from recstack.data.resolve import SHARED_COPY
from recstack.data.sasrec import read_sasrec
from recstack.errors import RecStackError
from services.trainer.evaluation.bench import Bench
from services.trainer.evaluation.bundle import bundle_protocols
from services.trainer.evaluation.page import write_page
from services.trainer.evaluation.protocols import PROTOCOLS, find_protocol
from services.trainer.evaluation.runner import plan, run
from services.trainer.evaluation.summary import summarize
from services.trainer.evaluation.tables import terminal

SEQUENCES = Path("ml-1m-sasrec/ml-1m.txt")
"""The leave-one-out file, beside a folder with MovieLens-1M."""

ProtocolsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[PROTOCOL]...", help="C1 C2 C3 R1 R1-cold R2 S1 T1 F1; all if none.")
]
EntrantsOption = Annotated[
    list[str] | None, typer.Option("--entrant", help="Only this one, for example dien:full; may be repeated.")
]
BundleOption = Annotated[
    str, typer.Option("--bundle", metavar="VERSION", help="Judge a bundle's models instead: a version, or active.")
]
DatasetOption = Annotated[
    str, typer.Option("--dataset", envvar="DATASET", help="auto, ml-1m or synthetic; auto takes what it finds.")
]
DataPathOption = Annotated[
    Path | None,
    typer.Option("--data-path", help="A described dataset (docs/data.md), or .dat files as MovieLens-1M's."),
]
SequencesOption = Annotated[
    Path | None, typer.Option("--sequences", help="S1's leave-one-out file of 'user item' lines; found by itself.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for quality.md and quality/ (JSON, plots).")]


def evaluate(
    protocols: ProtocolsArgument = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every trained model.")] = 3,
    entrants: EntrantsOption = None,
    bundle: BundleOption = "",
    dataset: DatasetOption = "auto",
    data_path: DataPathOption = None,
    sequences: SequencesOption = None,
    processes: Annotated[int, typer.Option(min=1, help="Entrants measured at once, with one thread each.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="torch threads of a single process; 0: one per core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, but keep finished training.")] = False,
    finished: Annotated[bool, typer.Option("--finished", help="Show what is finished, measure nothing.")] = False,
    out: OutOption = None,
) -> None:
    """Train and judge our models and baselines under the protocols, beside published figures.

    What is finished is kept and reused, so an interrupted evaluation goes on where it stopped.
    """
    settings, console = load_settings(), Console()
    if threads:
        torch.set_num_threads(threads)
    data = resolve_dataset(dataset, data_path, settings.home, log=lambda line: console.print(line, highlight=False))
    chosen = [find_protocol(name) for name in protocols or []] or list(PROTOCOLS)
    if bundle:
        chosen = bundle_protocols(_open(BundleStore.of(settings), bundle), data, chosen)
    leave_one_out = _sequences(data, sequences, [data_path or SHARED_COPY, settings.home / "data/ml-1m"])
    bench = Bench(data, settings.home / "evaluation", leave_one_out, device, console)

    jobs = plan(chosen, entrants or [], seeds, PROTOCOLS)
    waiting = [job for job in jobs if fresh or not bench.finished(job.protocol, job.entrant, job.seed)]
    failed = 0 if finished else run(bench, waiting, processes, console)

    outcomes = [outcome for job in jobs if (outcome := bench.finished(job.protocol, job.entrant, job.seed))]
    summaries = [summarize(each, [o for o in outcomes if o.protocol == each.id], bench) for each in chosen]
    for summary in summaries:
        console.print(terminal(summary, console.width))
    command = f"recstack evaluate {' '.join(protocols or [])} --seeds {seeds}".replace("  ", " ")
    page = write_page(summaries, bench, out or settings.home / "evaluation", command)
    console.print(f"Written: {page}, with plots and JSON in {page.with_suffix('')}/", highlight=False, soft_wrap=True)
    if failed:
        raise RecStackError(f"{failed} of {len(waiting)} measurements failed; see {bench.folder}/failures.log")


def _open(store: BundleStore, version: str) -> Bundle:
    bundle = store.open((store.active() or "") if version == "active" else version)
    bundle.verify()
    return bundle


def _sequences(data: Dataset, path: Path | None, folders: Sequence[Path]) -> Dataset | None:
    """The leave-one-out file: `path`, or for MovieLens-1M what lies beside one of `folders`; None without one."""
    beside = [folder.parent / SEQUENCES for folder in folders] if data.name == "ml-1m" else []
    found = path or next((file for file in beside if file.is_file()), None)
    return read_sasrec(found) if found else None
