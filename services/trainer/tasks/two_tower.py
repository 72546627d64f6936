"""Training of two-tower models: presets by name, and one function for all of them."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.models.devices import resolve_device
from recstack.models.retriever import Retriever
from services.trainer.fit import FitConfig, FitResult, train
from services.trainer.tasks.two_tower_likes import LikesPreset, LikesTask, NotebookTwoTowerPreset, TwoTowerPreset
from services.trainer.tasks.two_tower_sequence import SequenceTask, SequenceTwoTowerPreset

_NEXT_EVENT = FitConfig(
    learning_rate=1.5e-3,
    weight_decay=0.01,
    precision="bfloat16",
    patience=15,  # 512 cases are noisy: an early stroke of luck must not end a run whose rate has yet to fall
    clip_norm=1.0,
    average_decay=0.998,
)
TWO_TOWER_PRESETS: dict[str, LikesPreset | SequenceTwoTowerPreset] = {
    "quick": TwoTowerPreset(fit=FitConfig(epochs=5, learning_rate=5e-3, average_decay=0.99)),
    "full": TwoTowerPreset(fit=FitConfig(epochs=14, learning_rate=5e-3, patience=5, average_decay=0.995)),
    "notebook": NotebookTwoTowerPreset(fit=FitConfig(epochs=10, learning_rate=5e-3, average_decay=0.995)),
    "sequence": SequenceTwoTowerPreset(fit=replace(_NEXT_EVENT, epochs=26)),
    "sequence_10_minutes": SequenceTwoTowerPreset(fit=replace(_NEXT_EVENT, epochs=14)),
}


def train_two_tower(
    dataset: Dataset,
    split: RowSplit,
    preset: LikesPreset | SequenceTwoTowerPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[Retriever, FitResult]:
    """Train a two-tower model; an interrupted run in `run_dir` goes on. The model has its best weights."""

    def make_task() -> LikesTask | SequenceTask:
        return preset.task(dataset, split, resolve_device(device), seed)

    task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
    return task.model, result
