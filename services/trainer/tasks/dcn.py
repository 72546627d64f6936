"""Training of Deep & Cross: on segments of histories where time splits the data, else on single rows.

What a preset reads decides what it is fit for: "full" knows the history of the request only (protocol C1); "random"
and "rating" know ids and the training rows (C2, C3, R1); "no_ids" and "notebook" know profile and genres (R2).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.features.catalogue import ItemTable
from recstack.features.schema import LIKED_FROM
from recstack.models.dcn import DCN, DCNConfig
from recstack.models.devices import device_of, resolve_device
from recstack.models.ranker import Prediction
from services.trainer.fit import ALONE, Batches, FitConfig, FitResult, Loss, Worker, seed_everything, train
from services.trainer.items import item_table
from services.trainer.tasks.click_validation import click_metrics, spread
from services.trainer.tasks.dcn_rows import ExampleBatch, RowEpoch, TrainingRows
from services.trainer.tasks.history_at import events_at, predict_rows
from services.trainer.tasks.item_means import smoothed_item_means
from services.trainer.tasks.segments import SegmentBatch, SegmentData, SegmentEpoch, liked


@dataclass(frozen=True, kw_only=True, slots=True)
class DCNPreset:
    """How a DCN is trained.

    model: what DCNConfig gets beside the sizes of the data. user_ids: whether users are known by id. batch_rows: rows,
    or targets of segments, per step. cross_penalty: weight of the sum of squared cross weights in the mean loss.
    user_dropout: share of rows whose user is made unknown. memory_folds: parts of the training rows of which one is
    held out of the memories at a time. validation_rows: rows of validation that are scored after each epoch, evenly
    spread.
    """

    fit: FitConfig
    model: Mapping[str, Any] = field(default_factory=dict)
    user_ids: bool = False
    batch_rows: int = 8192
    user_dropout: float = 0.0
    memory_folds: int = 1
    cross_penalty: float = 0.0
    validation_rows: int = 100_000

    def model_config(self, num_users: int, num_items: int) -> DCNConfig:
        """The model of this preset for data of that size."""
        return DCNConfig(num_items=num_items, num_users=num_users if self.user_ids else 0, **self.model)


DEMOGRAPHIC = ("gender", "age", "occupation")

DCN_PRESETS = {
    "notebook": DCNPreset(
        fit=FitConfig(
            epochs=30, learning_rate=1e-3, optimizer="rmsprop", schedule="constant", warmup=0.0, clip_norm=1e6
        ),
        model={
            "prediction": "rating", "profile": DEMOGRAPHIC, "year": False, "pooling": "average", "cross": "vector",
            "cross_layers": 4, "deep": (64, 32), "batch_norm": True,
        },
        batch_rows=256,
        cross_penalty=1e-3,
    ),
    "no_ids": DCNPreset(
        fit=FitConfig(epochs=12, learning_rate=5e-3, weight_decay=0.01, average_decay=0.99),
        model={"prediction": "rating", "profile": DEMOGRAPHIC, "year": False, "genre_sets": 4096},
        batch_rows=1024,
    ),
    "quick": DCNPreset(
        fit=FitConfig(epochs=1, learning_rate=3e-3, weight_decay=0.1, average_decay=0.97, max_minutes=2.0),
        model={
            "id_dim": 24, "embedding_dim": 8, "half_lives": (0.0,), "history_dim": 24, "max_history": 50,
            "cross": "mixture", "cross_rank": 8, "deep": (48,), "factor_inputs": 16,
        },
        batch_rows=1600,
        validation_rows=10_000,
    ),
    "full": DCNPreset(
        fit=FitConfig(epochs=3, learning_rate=3e-3, weight_decay=0.3, average_decay=0.99),
        model={
            "id_dim": 48, "id_dropout": 0.02, "embedding_dim": 8, "half_lives": (0.0, 10.0), "history_dim": 48,
            "max_history": 100, "cross": "mixture", "cross_rank": 16, "deep": (96, 48), "dropout": 0.1,
        },
        batch_rows=2400,
        validation_rows=30_000,
    ),
    "random": DCNPreset(
        fit=FitConfig(epochs=4, learning_rate=5e-3, weight_decay=3.0, average_decay=0.98),
        model={
            "id_dim": 32, "memory_dim": 64, "id_dropout": 0.01, "embedding_dim": 8, "cross": "mixture",
            "cross_rank": 16, "deep": (96, 48), "dropout": 0.5,
        },
        user_ids=True,
        memory_folds=5,
        user_dropout=0.01,
        validation_rows=30_000,
    ),
    "rating": DCNPreset(
        fit=FitConfig(epochs=6, learning_rate=5e-3, weight_decay=4.0, average_decay=0.98),
        model={
            "prediction": "rating", "id_dim": 32, "memory_dim": 64, "id_dropout": 0.01, "embedding_dim": 8,
            "half_lives": (3.0, 10.0, 30.0), "max_history": 50, "cross": "mixture", "cross_rank": 16,
            "deep": (96, 48), "dropout": 0.5,
        },
        user_ids=True,
        memory_folds=5,
        user_dropout=0.01,
        validation_rows=30_000,
    ),
}  # fmt: skip


class DCNTask:
    """What training a DCN has in common on rows and on segments; parts of `services.trainer.fit.Task`."""

    name = "dcn"

    def __init__(self, model: DCN, dataset: Dataset, split: RowSplit, preset: DCNPreset, seed: int) -> None:
        self.model = model
        self._device = device_of(model)
        self._table = item_table(dataset).to(self._device)
        self._preset = preset
        self._seed = seed
        self._dataset = dataset
        self._split = split
        self._rows = spread(split.validation, preset.validation_rows)
        self._rates = model.prediction is Prediction.RATING
        self.metric_name = "mse" if self._rates else "auc"
        self.lower_is_better = self._rates

    def identity(self) -> Mapping[str, object]:
        """Model, data and sampling of this run."""
        return {
            "model": dataclasses.asdict(self.model.config),
            "preset": dataclasses.asdict(self._preset),
            "data": self._dataset.name,
            "rows": [len(part) for part in (self._split.train, self._split.validation)],
            "seed": self._seed,
        }

    def validate(self) -> dict[str, float]:
        """Metrics on the validation rows, with inputs as served."""
        predicted = predict_rows(self.model, self._dataset, self._split, self._rows)
        if not self._rates:
            return click_metrics(self._dataset.events, self._rows, predicted)
        ratings = self._dataset.events.rating[self._rows]
        return {"mse": float(np.mean((predicted - ratings) ** 2)), "mae": float(np.mean(abs(predicted - ratings)))}

    def _loss(self, scores: Tensor, ratings: Tensor, labels: Tensor, weights: Tensor) -> Loss:
        if self._rates:
            losses = (scores - ratings).square()
        else:
            losses = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
        rows = weights.sum()
        return Loss((losses * weights).sum() + self._preset.cross_penalty * rows * self.model.cross.penalty(), rows)


class RowTask(DCNTask):
    """DCN on single rows; implements `services.trainer.fit.Task`."""

    def __init__(self, model: DCN, dataset: Dataset, split: RowSplit, preset: DCNPreset, seed: int) -> None:
        super().__init__(model, dataset, split, preset, seed)
        self._training = TrainingRows(dataset, split, model.config.max_history)
        self._remembered = np.empty(0, np.int64)

    def batches(self, epoch: int, worker: Worker = ALONE) -> Batches[ExampleBatch]:
        """All training rows, shuffled anew for each epoch."""
        preset, seed = self._preset, (self._seed, epoch)
        return RowEpoch(self._training, preset.batch_rows, preset.memory_folds, preset.user_dropout, seed, worker)

    def samples(self, batch: ExampleBatch) -> int:
        """Rows in a batch."""
        return len(batch)

    def loss(self, batch: ExampleBatch) -> Loss:
        """Squared error or log loss of the rows."""
        self._remember(batch.remembered)
        batch = batch.to(self._device)
        if self.model.config.id_dim:
            item_vectors_IE = self.model.encode_items(self._table)
            candidates_BE = item_vectors_IE[batch.items_B]
        else:  # no vector depends on which item it is, so those of the batch are enough
            item_vectors_IE = candidates_BE = self.model.encode_items(
                ItemTable(self._table.year_bucket[batch.items_B], self._table.genres[batch.items_B])
            )
        state = self.model.encode_users(batch.users, item_vectors_IE)
        scores_B = self.model.score(state, candidates_BE.unsqueeze(1)).squeeze(1)
        ratings_B = batch.rating_ids_B.float()
        return self._loss(scores_B, ratings_B, (ratings_B >= LIKED_FROM).float(), torch.ones_like(ratings_B))

    def validate(self) -> dict[str, float]:
        """Metrics on the validation rows, with all training rows in the memories."""
        self._remember(np.arange(len(self._training)))
        self.model.refresh_memories()
        return super().validate()

    def _remember(self, rows: NDArray[np.int64]) -> None:
        """Let the model's memories hold `rows` of the training rows."""
        if rows is self._remembered or not self.model.config.memory_dim:
            return
        self._remembered, known = rows, self._training
        columns = (known.users[rows], known.items[rows], known.rating_ids[rows])
        self.model.learn_memories(*(torch.from_numpy(column).to(self._device) for column in columns))


class SegmentTask(DCNTask):
    """DCN on segments of histories; implements `services.trainer.fit.Task`."""

    def __init__(self, model: DCN, dataset: Dataset, split: RowSplit, preset: DCNPreset, seed: int) -> None:
        super().__init__(model, dataset, split, preset, seed)
        self._segments = SegmentData(dataset, events_at(dataset, split.train), model.config.max_history)

    def batches(self, epoch: int, worker: Worker = ALONE) -> SegmentEpoch:
        """Segments of all training events, cut and shuffled anew for each epoch."""
        return SegmentEpoch(self._segments, self._preset.batch_rows, (self._seed, epoch), worker)

    def samples(self, batch: SegmentBatch) -> int:
        """Targets in a batch."""
        return int(batch.weights_BT.sum())

    def loss(self, batch: SegmentBatch) -> Loss:
        """Log loss of the targets."""
        batch = batch.to(self._device)
        item_vectors_IE = self.model.encode_items(self._table)
        state = self.model.encode_users(batch.users, item_vectors_IE)
        scores_BT = self.model.score(state, item_vectors_IE[batch.targets_BT], batch.visible_BT)
        return self._loss(scores_BT, batch.labels_BT, batch.labels_BT, batch.weights_BT)


def train_dcn(
    dataset: Dataset,
    split: RowSplit,
    preset: DCNPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[DCN, FitResult]:
    """Train a DCN on `split.train`; returned with the weights of the best epoch on `split.validation`."""

    task, result = train(
        partial(make_task, dataset, split, preset, device, seed),
        dataclasses.replace(preset.fit, seed=seed),
        run_dir,
        console,
        workers,
    )
    return task.model, result


def make_task(dataset: Dataset, split: RowSplit, preset: DCNPreset, device: str, seed: int) -> RowTask | SegmentTask:
    """The task of `train_dcn` with a new model: on segments where time splits the data and a history is read."""
    seed_everything(seed)
    model = DCN(preset.model_config(len(dataset.users.ids), len(dataset.items.ids)))
    set_item_bias(model, dataset, split)
    kind = SegmentTask if split.temporal and model.config.half_lives else RowTask
    return kind(model.to(resolve_device(device)), dataset, split, preset, seed)


def set_item_bias(model: DCN, dataset: Dataset, split: RowSplit) -> None:
    """Start each item's bias at its smoothed mean in the training rows: of the ratings, or of the likes as a logit.

    A model without ids has no such biases and is left as it is.
    """
    if model.item_bias is None:
        return
    events = events_at(dataset, split.train)
    rates = model.prediction is Prediction.RATING
    values = events.rating if rates else liked(events.rating)
    mean = smoothed_item_means(events, values, model.config.num_items, values.mean())
    with torch.no_grad():
        model.item_bias.copy_(mean if rates else torch.logit(mean, eps=1e-3))
