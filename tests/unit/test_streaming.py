"""`recstack train simple-cf --stream`, without the command line around it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recstack.data import synthetic_world
from recstack.data.parquet import write_parquet
from recstack.errors import DataError, InvalidRequestError
from services.trainer.streaming import train_streamed
from services.trainer.training import trainings_of

QUIET = Console(quiet=True)


def stream(models: list[str], path: Path, folder: Path) -> None:
    train_streamed(trainings_of(models, "quick"), path, folder, device="cpu", seed=0, workers=1, console=QUIET)


def test_what_is_written_starts_other_runs(tmp_path: Path) -> None:
    world = synthetic_world(seed=3, users=50, items=60, events=1_500)
    write_parquet(world, tmp_path / "data")
    events = tmp_path / "data/events.parquet"
    pq.write_table(pq.read_table(events), events, row_group_size=200)
    stream(["simple-cf"], tmp_path / "data", tmp_path / "run")
    users, items = (np.load(tmp_path / f"run/{name}_embeddings.npy") for name in ("user", "item"))
    assert (len(users), len(items)) == (51, 61)
    assert np.isfinite(users).all()
    assert (tmp_path / "run/model.safetensors").is_file()


def test_other_models_and_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="--stream trains simple-cf, got dien"):
        stream(["dien"], tmp_path, tmp_path / "run")
    with pytest.raises(DataError, match=r"has no dataset\.yaml"):
        stream(["simple-cf"], tmp_path, tmp_path / "run")
