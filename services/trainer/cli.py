"""`recstack train`."""

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from recstack.bundle import BundleStore
from recstack.config import load_settings
from recstack.data import Dataset, resolve_dataset, temporal_rows, temporal_split
from recstack.errors import InvalidRequestError
from recstack.models.retrieval_index import IndexRule
from services.trainer.publish import publish
from services.trainer.ranker_choice import FUNNEL
from services.trainer.streaming import train_streamed
from services.trainer.training import Training, make_plan, run_plan, train_one, trainings_of

DatasetOption = Annotated[
    str, typer.Option("--dataset", envvar="DATASET", help="auto, ml-1m or synthetic; auto takes what it finds.")
]
DataPathOption = Annotated[
    Path | None,
    typer.Option("--data-path", help="A described dataset (docs/data.md), or .dat files as MovieLens-1M's."),
]
CF = "SimpleCF"
ThreadsOption = Annotated[int, typer.Option(min=0, help="torch threads; 0 means one per core.")]


def train(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="two-tower, multimodal, simple-cf, dien, dcn; a good set if none."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="quick: about two minutes; full: the best models; notebook, …: see the error for others."),
    ] = "full",
    ranker: Annotated[
        str,
        typer.Option(
            help="Which serves: funnel (weighs rankers, recall and demand for what users come to like), a model's "
            "name, blend (DIEN and DCN), or auto (the best of these two and their blend at predicting ratings)."
        ),
    ] = FUNNEL,
    dataset: DatasetOption = "auto",
    data_path: DataPathOption = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and dropout.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: ThreadsOption = 0,
    workers: Annotated[int, typer.Option(min=1, help="Training processes that share each batch (Ray Train).")] = 1,
    run: Annotated[str, typer.Option(help="Name of the run; an interrupted run of that name goes on.")] = "",
    activate: Annotated[bool, typer.Option(help="Serve the new bundle at once.")] = True,
    stream: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="A described dataset to stream, for what does not fit in memory: SimpleCF only."
        ),
    ] = None,
    factors: Annotated[int | None, typer.Option(min=1, help="Numbers per user and item.", rich_help_panel=CF)] = None,
    user_embeddings: Annotated[
        Path | None, typer.Option(help="Pretrained users: .npy, row 0 unknown, then by id.", rich_help_panel=CF)
    ] = None,
    item_embeddings: Annotated[
        Path | None, typer.Option(help="Pretrained items: .npy, row 0 unknown, then by id.", rich_help_panel=CF)
    ] = None,
    freeze_users: Annotated[
        bool, typer.Option("--freeze-users", help="Do not train users.", rich_help_panel=CF)
    ] = False,
    freeze_items: Annotated[
        bool, typer.Option("--freeze-items", help="Do not train items.", rich_help_panel=CF)
    ] = False,
    init: Annotated[
        str | None, typer.Option(metavar="FUNCTION", help="Of torch.nn.init, such as normal_.", rich_help_panel=CF)
    ] = None,
    init_argument: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="For it, such as std=0.1; may be repeated.", rich_help_panel=CF),
    ] = None,
) -> None:
    """Train models, and publish them as one bundle.

    With MODELs only those are trained; the others come from the active bundle.
    """
    settings, console = load_settings(), Console()
    simple_cf: dict[str, Any] = {
        "factors": factors,
        "pretrained_users": user_embeddings,
        "pretrained_items": item_embeddings,
        "freeze_users": freeze_users or None,
        "freeze_items": freeze_items or None,
        "init": init,
        "init_arguments": _numbers("--init-argument", init_argument) if init or init_argument else None,
    }
    trainings = trainings_of(models or (), preset, {"simple_cf": simple_cf})
    folder = settings.home / "runs" / (run or time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
    if stream is not None:
        train_streamed(trainings, stream, folder, device=device, seed=seed, workers=workers, console=console)
        return
    data = _load(dataset, data_path, settings.home, threads, console)
    store = BundleStore.of(settings)
    plan = make_plan(trainings, whole=not models, ranker=ranker, store=store, dataset=data)
    split = temporal_rows(temporal_split(data))
    console.print(f"Run folder: {folder} (goes on after an interruption with --run {folder.name})")

    def train_it(training: Training) -> tuple[Any, dict[str, float]]:
        return train_one(training, data, split, folder, device=device, seed=seed, workers=workers, console=console)

    started = time.monotonic()
    found, metrics = run_plan(plan, data, split, train_it, console)
    minutes = (time.monotonic() - started) / 60
    rule = IndexRule(exact_items=settings.retrieval.exact_items, max_bytes=settings.retrieval.max_index_bytes)
    manifest = publish(store, data, found, metrics, rule)
    console.print(f"Published bundle {manifest.version} in {store.url}; trained for {minutes:.1f} min.")
    if activate:
        store.activate(manifest.version)
        console.print("It is active: running services pick it up. Next: [bold]recstack up[/]")


def _load(dataset: str, data_path: Path | None, home: Path, threads: int, console: Console) -> Dataset:
    if threads:
        torch.set_num_threads(threads)
    return resolve_dataset(dataset, data_path, home, log=lambda line: console.print(line, highlight=False))


def _numbers(option: str, pairs: list[str] | None) -> dict[str, float]:
    """{"std": 0.1} of ["std=0.1"]."""
    numbers = {}
    for pair in pairs or ():
        name, _, value = pair.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise InvalidRequestError(f"{option} is {pair!r}; write a name, =, and a number: std=0.1") from error
    return numbers
