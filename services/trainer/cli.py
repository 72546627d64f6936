"""The trainer's commands: `recstack train` and `recstack evaluate`."""

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from recstack.bundle import BundleStore
from recstack.config import load_settings
from recstack.data import Dataset, resolve_dataset, temporal_rows, temporal_split
from services.trainer.evaluation.report import evaluate_bundle, write_report
from services.trainer.publish import publish
from services.trainer.ranker_choice import AUTO
from services.trainer.training import Training, make_plan, run_plan, train_one, trainings_of

DatasetOption = Annotated[
    str, typer.Option("--dataset", envvar="DATASET", help="auto, ml-1m or synthetic; auto takes what it finds.")
]
DataPathOption = Annotated[Path | None, typer.Option("--data-path", help="Folder with MovieLens-1M's .dat files.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="torch threads; 0 means one per core.")]


def train(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="two-tower, multimodal, simple-cf, dien, dcn; a good set if none."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="quick: about two minutes; full: the best models; notebook, …: see the error for others."),
    ] = "full",
    ranker: Annotated[
        str,
        typer.Option(help="Which ranker serves: auto (what does best on validation), blend, dien, dcn, …"),
    ] = AUTO,
    dataset: DatasetOption = "auto",
    data_path: DataPathOption = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: ThreadsOption = 0,
    workers: Annotated[int, typer.Option(min=1, help="Training processes that share each batch (Ray Train).")] = 1,
    run: Annotated[str, typer.Option(help="Name of the run; an interrupted run of that name goes on.")] = "",
    activate: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
) -> None:
    """Train models, and publish them as one bundle.

    With MODELs only those are trained; the others come from the active bundle.
    """
    settings, console = load_settings(), Console()
    trainings = trainings_of(models or (), preset)
    data = _load(dataset, data_path, settings.home, threads, console)
    store = BundleStore.of(settings)
    plan = make_plan(trainings, whole=not models, ranker=ranker, store=store, dataset=data)
    split = temporal_rows(temporal_split(data))
    folder = settings.home / "runs" / (run or time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
    console.print(f"Run folder: {folder} (goes on after an interruption with --run {folder.name})")

    def train_it(training: Training) -> tuple[Any, dict[str, float]]:
        return train_one(training, data, split, folder, device=device, seed=seed, workers=workers, console=console)

    started = time.monotonic()
    found, metrics = run_plan(plan, data, split, train_it, console)
    minutes = (time.monotonic() - started) / 60
    manifest = publish(store, data, found, metrics)
    console.print(f"Published bundle {manifest.version} in {store.url}; trained for {minutes:.1f} min.")
    if activate:
        store.activate(manifest.version)
        console.print("It is active: running services pick it up. Next: [bold]recstack up[/]")


def evaluate(
    version: Annotated[str, typer.Argument(help="Bundle version; the active one when left out.")] = "",
    dataset: DatasetOption = "auto",
    data_path: DataPathOption = None,
    threads: ThreadsOption = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.md and evaluation.json.")] = None,
) -> None:
    """Compare a bundle's models with baselines trained in the same run, on the test period."""
    settings, console = load_settings(), Console()
    store = BundleStore.of(settings)
    bundle = store.open(version or store.active() or "")
    bundle.verify()
    data = _load(dataset, data_path, settings.home, threads, console)
    report = evaluate_bundle(bundle, data, console)
    write_report(report, out or settings.home / "evaluation" / bundle.manifest.version, console)


def _load(dataset: str, data_path: Path | None, home: Path, threads: int, console: Console) -> Dataset:
    if threads:
        torch.set_num_threads(threads)
    return resolve_dataset(dataset, data_path, home, log=lambda line: console.print(line, highlight=False))
