"""Training of SimpleCF on events that do not fit in memory: the same task, with rows that are streamed."""

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from recstack.models.devices import resolve_device
from recstack.models.simple_cf import SimpleCF
from services.trainer.fit import FitResult, seed_everything, train
from services.trainer.tasks.parquet_rows import ParquetRows
from services.trainer.tasks.simple_cf import SimpleCFPreset, SimpleCFTask, make_simple_cf


def train_simple_cf_streamed(
    source: ParquetRows,
    preset: SimpleCFPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[SimpleCF, FitResult]:
    """Train on the rows of `source`; the model has the weights of the best epoch on the rows it holds out.

    The source decides the batch size. Users and items have the indices of the source's ascending ids.
    """
    survey = source.survey()

    def make_task() -> SimpleCFTask:
        seed_everything(seed)
        mean = survey.like_share if preset.binary else survey.mean_rating
        model = make_simple_cf(len(source.user_ids), len(source.item_ids), mean, preset)
        return SimpleCFTask(
            model.to(resolve_device(device)),
            source,
            validation=source.held_out(),
            trained=(torch.from_numpy(survey.users), torch.from_numpy(survey.items)),
            preset=preset,
            seed=seed,
            data_name=source.name,
        )

    task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
    return task.simple_cf, result
