"""The trainer's commands: `recstack train` and `recstack evaluate`."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from recstack.bundle import BundleStore
from recstack.config import load_settings
from recstack.data import Dataset, resolve_dataset, temporal_split
from recstack.data.splits import temporal_rows
from services.trainer.evaluation.report import evaluate_bundle, write_report
from services.trainer.publish import publish
from services.trainer.tasks.dien import DIEN_PRESETS, train_dien
from services.trainer.tasks.two_tower import RETRIEVAL_PRESETS, train_retrieval

Preset = StrEnum("Preset", {"QUICK": "quick", "FULL": "full"})

DatasetOption = Annotated[
    str, typer.Option("--dataset", envvar="DATASET", help="auto, ml-1m or synthetic; auto takes what it finds.")
]
DataPathOption = Annotated[Path | None, typer.Option("--data-path", help="Folder with MovieLens-1M's .dat files.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="torch threads; 0 means one per core.")]


def train(
    preset: Annotated[Preset, typer.Option(help="quick: about two minutes; full: the best models.")] = Preset.FULL,
    dataset: DatasetOption = "auto",
    data_path: DataPathOption = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: ThreadsOption = 0,
    run: Annotated[str, typer.Option(help="Name of the run; an interrupted run of that name goes on.")] = "",
    activate: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
) -> None:
    """Train retrieval and ranking, and publish them as one bundle."""
    settings, console = load_settings(), Console()
    data = _load(dataset, data_path, settings.home, threads, console)
    split = temporal_split(data)
    folder = settings.home / "runs" / (run or time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
    console.print(f"Run folder: {folder} (goes on after an interruption with --run {folder.name})")

    two_tower, retrieval = train_retrieval(
        data, split, RETRIEVAL_PRESETS[preset], folder / "retrieval", device=device, seed=seed
    )
    dien, ranking = train_dien(
        data, temporal_rows(split), DIEN_PRESETS[preset], folder / "ranking", device=device, seed=seed
    )

    metrics = {f"retrieval/validation_{name}": value for name, value in retrieval.metrics.items()}
    metrics |= {f"ranking/validation_{name}": value for name, value in ranking.metrics.items()}
    metrics |= {"retrieval/seconds": retrieval.seconds, "ranking/seconds": ranking.seconds}
    store = BundleStore.of(settings)
    manifest = publish(store, data, two_tower.cpu(), dien.cpu(), metrics)
    console.print(f"Published bundle {manifest.version} in {store.url}; trained {_minutes(metrics)}.")
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


def _minutes(metrics: dict[str, float]) -> str:
    retrieval, ranking = metrics["retrieval/seconds"] / 60, metrics["ranking/seconds"] / 60
    return f"{retrieval + ranking:.1f} min (retrieval {retrieval:.1f}, ranking {ranking:.1f})"
