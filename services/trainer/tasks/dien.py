"""Training of the ranker: DIEN on segments of the training period, judged on the validation period."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from recstack.data.dataset import Dataset, Events
from recstack.data.splits import RowSplit
from recstack.models.devices import device_of, resolve_device
from recstack.models.dien import DIEN, DIENConfig
from recstack.models.dien_notebook import NotebookDIEN, NotebookDIENConfig
from recstack.models.ranker import Ranker
from services.trainer.fit import ALONE, FitConfig, FitResult, Loss, Worker, seed_everything, train
from services.trainer.items import item_table
from services.trainer.tasks.click_validation import click_metrics, spread
from services.trainer.tasks.history_at import events_at, predict_rows
from services.trainer.tasks.item_means import smoothed_item_means
from services.trainer.tasks.segments import SegmentBatch, SegmentData, SegmentEpoch, liked

SIZED_LATER = DIENConfig(num_items=1)
MODELS: dict[type, type[Ranker]] = {DIENConfig: DIEN, NotebookDIENConfig: NotebookDIEN}


@dataclass(frozen=True, kw_only=True, slots=True)
class DIENPreset:
    """How a ranker is trained. config: the model's, with the catalogue's size to be filled in; batch_targets: targets
    per step; auxiliary: weight of the auxiliary loss, which the notebook's form has not; validation_rows: rows of the
    validation period that are scored after each epoch, evenly spread."""

    fit: FitConfig
    config: DIENConfig | NotebookDIENConfig = SIZED_LATER
    batch_targets: int = 2048
    auxiliary: float = 0.5
    validation_rows: int = 30_000

    def model(self, num_items: int) -> Ranker:
        """The model of this preset for a catalogue of `num_items`, untrained."""
        return MODELS[type(self.config)](dataclasses.replace(self.config, num_items=num_items))


DIEN_PRESETS = {
    "quick": DIENPreset(
        fit=FitConfig(epochs=1, learning_rate=3e-3, weight_decay=0.1, max_minutes=2.0), validation_rows=10_000
    ),
    "full": DIENPreset(
        fit=FitConfig(epochs=4, learning_rate=3e-3, weight_decay=0.1, max_minutes=30.0), batch_targets=4096
    ),
    "notebook": DIENPreset(
        fit=FitConfig(epochs=2, learning_rate=2e-3, max_minutes=30.0),
        config=NotebookDIENConfig(num_items=1),
        batch_targets=512,
        validation_rows=10_000,
    ),
}


class DIENTask:
    """DIEN with its training and validation data; implements `services.trainer.fit.Task`."""

    name = "dien"
    metric_name = "auc"
    lower_is_better = False

    def __init__(self, model: Ranker, dataset: Dataset, split: RowSplit, preset: DIENPreset, seed: int) -> None:
        self.model = model
        self._device = device_of(model)
        self._table = item_table(dataset).to(self._device)
        self._preset = preset
        self._seed = seed
        self._segments = SegmentData(dataset, events_at(dataset, split.train), model.config.max_history)
        self._dataset = dataset
        self._split = split
        self._rows = spread(split.validation, preset.validation_rows)

    def identity(self) -> Mapping[str, object]:
        """Model, data and sampling of this run."""
        return {
            "model": dataclasses.asdict(self.model.config),
            "preset": dataclasses.asdict(self._preset),
            "data": self._dataset.name,
            "rows": [len(part) for part in (self._split.train, self._split.validation)],
            "seed": self._seed,
        }

    def batches(self, epoch: int, worker: Worker = ALONE) -> SegmentEpoch:
        """Segments of all training events, cut and shuffled anew for each epoch."""
        return SegmentEpoch(self._segments, self._preset.batch_targets, (self._seed, epoch), worker)

    def samples(self, batch: SegmentBatch) -> int:
        """Targets in a batch."""
        return int(batch.weights_BT.sum())

    def loss(self, batch: SegmentBatch) -> Loss:
        """Log loss of the targets plus the weighted auxiliary loss."""
        batch = batch.to(self._device)
        item_vectors_IE = self.model.encode_items(self._table)
        state = self.model.encode_users(batch.users, item_vectors_IE)
        targets_BTE = nn.functional.embedding(batch.targets_BT, item_vectors_IE)
        logits_BT = self.model.score(state, targets_BTE, batch.visible_BT)
        total = _log_loss(logits_BT, batch)
        if isinstance(self.model, DIEN):
            auxiliary_BT = self.model.auxiliary_logits(state, targets_BTE, batch.visible_BT)
            total = total + self._preset.auxiliary * _log_loss(auxiliary_BT, batch)
        return Loss(total, batch.weights_BT.sum())

    def validate(self) -> dict[str, float]:
        """AUC, GAUC and log loss on the validation rows, with inputs as served."""
        probabilities = predict_rows(self.model, self._dataset, self._split, self._rows)
        return click_metrics(self._dataset.events, self._rows, probabilities)


def train_dien(
    dataset: Dataset,
    split: RowSplit,
    preset: DIENPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[Ranker, FitResult]:
    """Train a ranker on `split.train`; returned with the weights of the best epoch on `split.validation`."""

    task, result = train(
        partial(make_task, dataset, split, preset, device, seed),
        dataclasses.replace(preset.fit, seed=seed),
        run_dir,
        console,
        workers,
    )
    return task.model, result


def make_task(dataset: Dataset, split: RowSplit, preset: DIENPreset, device: str, seed: int) -> DIENTask:
    """The task of `train_dien` with a new model."""
    seed_everything(seed)
    model = preset.model(len(dataset.items.ids))
    if isinstance(model, DIEN):
        set_item_bias(model, events_at(dataset, split.train))
    return DIENTask(model.to(resolve_device(device)), dataset, split, preset, seed)


def set_item_bias(model: DIEN, events: Events) -> None:
    """Start each item's bias at the logit of its smoothed like rate in `events`; unknown items at the overall one."""
    labels = liked(events.rating)
    overall = float(np.clip(labels.mean(), 1e-3, 1 - 1e-3))
    with torch.no_grad():
        model.item_bias.copy_(torch.logit(smoothed_item_means(events, labels, model.config.num_items, overall)))


def _log_loss(logits_BT: Tensor, batch: SegmentBatch) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits_BT, batch.labels_BT, batch.weights_BT, reduction="sum")
