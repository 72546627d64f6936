"""`recstack train simple-cf --stream`: training on a described dataset that does not fit in memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from recstack.data.description import DESCRIPTION_FILE, find_description
from recstack.errors import DataError, InvalidRequestError
from recstack.models.storage import save_model
from services.trainer.tasks.parquet_rows import ParquetRows
from services.trainer.tasks.simple_cf_streamed import train_simple_cf_streamed
from services.trainer.training import Training

BATCH_ROWS = 65_536
"""Rows in a step: with millions of users and items, each step's cost is that of their tables, not of its rows."""


def train_streamed(
    trainings: Sequence[Training],
    path: Path,
    folder: Path,
    *,
    device: str,
    seed: int,
    workers: int,
    console: Console,
) -> None:
    """Train SimpleCF on streamed rows, and write it with its tables into `folder`.

    user_embeddings.npy and item_embeddings.npy (row 0 unknown, then by ascending id) are what other runs start from.
    Nothing is published: a bundle needs the whole dataset. Raises InvalidRequestError for any other model.
    """
    names = [training.trainer.name for training in trainings]
    if names != ["simple_cf"]:
        raise InvalidRequestError(
            f"--stream trains simple-cf, got {', '.join(names)}; name it alone: recstack train simple-cf --stream PATH"
        )
    description = find_description(path)
    if description is None:
        raise DataError(f"{path} has no {DESCRIPTION_FILE}; docs/data.md shows one, `recstack data convert` writes one")
    source = ParquetRows(description, BATCH_ROWS)
    console.print(f"Streaming {source.num_rows:,} rows of {source.name} from {description}")
    model, result = train_simple_cf_streamed(
        source, trainings[0].preset, folder / "simple_cf", device, seed, console, workers
    )
    save_model(folder, "simple_cf", model.cpu())
    for name in ("user_embeddings", "item_embeddings"):
        np.save(folder / f"{name}.npy", getattr(model, name).weight.detach().numpy())
    figures = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    console.print(f"Held-out rows: {figures}. Model and tables: {folder}", highlight=False)
