"""Training of SimpleCF on single ratings: squared error against the rating, or log loss of a like."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.errors import InvalidRequestError
from recstack.evaluation.ranking_metrics import auc, logloss
from recstack.evaluation.rating_metrics import mae, rmse
from recstack.features.schema import LIKED_FROM
from recstack.models.devices import resolve_device
from recstack.models.simple_cf import SimpleCF, SimpleCFConfig
from recstack.models.variational_cf import VariationalCF
from services.trainer.fit import ALONE, Batches, FitConfig, FitResult, Loss, Worker, seed_everything, train
from services.trainer.tasks.rows import InMemoryRows, RowBatch, RowSource


@dataclass(frozen=True, kw_only=True, slots=True)
class SimpleCFPreset:
    """How a SimpleCF is made and trained. factors to init_arguments: as in `SimpleCFConfig`.

    prior_std: above 0, every factor and bias is a Gaussian while it is trained, see `VariationalCF`; this is the
    factors' deviation before any rating is known.
    pretrained_users, pretrained_items: .npy files, float [U+1, F] and [I+1, F]: row 0 is the unknown one, the others
    are in ascending id order. Frozen tables stay as they are.
    """

    fit: FitConfig
    batch_rows: int = 4096
    factors: int = 16
    binary: bool = False
    biases: bool = False
    init: str = "normal_"
    init_arguments: Mapping[str, float] = field(default_factory=lambda: {"mean": 0.0, "std": 0.1})
    prior_std: float = 0.0
    pretrained_users: Path | None = None
    pretrained_items: Path | None = None
    freeze_users: bool = False
    freeze_items: bool = False


SIMPLE_CF_PRESETS = {
    "quick": SimpleCFPreset(fit=FitConfig(epochs=4, learning_rate=1e-2, weight_decay=0.4), factors=32, biases=True),
    "full": SimpleCFPreset(
        fit=FitConfig(epochs=20, learning_rate=1e-2),
        factors=32,
        biases=True,
        init_arguments={"mean": 0.0, "std": 0.2},
        prior_std=0.28,
    ),
    "notebook": SimpleCFPreset(fit=FitConfig(epochs=15, learning_rate=5e-3, weight_decay=0.1)),
    "binary": SimpleCFPreset(
        fit=FitConfig(epochs=16, learning_rate=1e-2),
        factors=32,
        binary=True,
        biases=True,
        init_arguments={"mean": 0.0, "std": 0.2},
        prior_std=0.5,
    ),
}


class SimpleCFTask:
    """SimpleCF with its rows; implements `services.trainer.fit.Task`."""

    name = "simple_cf"
    lower_is_better = True

    def __init__(
        self,
        model: SimpleCF,
        rows: RowSource,
        validation: RowBatch,
        trained: tuple[Tensor, Tensor],
        preset: SimpleCFPreset,
        seed: int,
        data_name: str,
    ) -> None:
        """trained: bool [U+1] and [I+1], which users and items `rows` holds; a pretrained table counts as trained."""
        self.simple_cf = model
        self.model: nn.Module = VariationalCF(model, preset.prior_std) if preset.prior_std else model
        self.metric_name = "logloss" if preset.binary else "rmse"
        self._device = model.item_embeddings.weight.device
        self.model.to(self._device)
        self._rows, self._validation, self._trained = rows, validation.to(self._device), trained
        self._preset, self._seed, self._data_name = preset, seed, data_name
        self._start = _fingerprint(model)

    def identity(self) -> Mapping[str, object]:
        """Model, data and sampling of this run."""
        return {
            "model": asdict(self.simple_cf.config),
            "preset": asdict(self._preset),
            "data": self._data_name,
            "rows": [self._rows.num_rows, len(self._validation)],
            "seed": self._seed,
            "start": self._start,
        }

    def batches(self, epoch: int, worker: Worker = ALONE) -> Batches[RowBatch]:
        """Every training row once."""
        return self._rows.epoch(self._seed, epoch, worker)

    def samples(self, batch: RowBatch) -> int:
        """Rows in a batch."""
        return len(batch)

    def loss(self, batch: RowBatch) -> Loss:
        """Squared error or log loss; of a variational model its expectation plus the rows' part of the divergence."""
        batch = batch.to(self._device)
        targets_B = self._targets(batch)
        if isinstance(self.model, VariationalCF):
            expected = self.model.losses(batch.users_B, batch.items_B, targets_B).sum()
            return Loss(expected + self.model.divergence() * (len(batch) / self._rows.num_rows), len(batch))
        scores_B = self.model(batch.users_B, batch.items_B)
        loss = functional.binary_cross_entropy_with_logits if self._preset.binary else functional.mse_loss
        return Loss(loss(scores_B, targets_B, reduction="sum"), len(batch))

    def validate(self) -> dict[str, float]:
        """RMSE and MAE of ratings, or log loss and AUC of likes, on the validation rows."""
        # Here and not after training, so that the weights that are kept are those that were judged.
        self.simple_cf.generalise(*self._trained)
        scores_B = self.simple_cf(self._validation.users_B, self._validation.items_B)
        predicted = self.simple_cf.predict(scores_B).cpu().numpy()
        targets = self._targets(self._validation).cpu().numpy()
        if self._preset.binary:
            return {"logloss": logloss(targets, predicted), "auc": auc(targets, predicted)}
        return {"rmse": rmse(targets, predicted), "mae": mae(targets, predicted)}

    def _targets(self, batch: RowBatch) -> Tensor:
        return (batch.ratings_B >= LIKED_FROM).float() if self._preset.binary else batch.ratings_B


def make_simple_cf(num_users: int, num_items: int, mean_target: float, preset: SimpleCFPreset) -> SimpleCF:
    """A SimpleCF before training. mean_target: mean rating, or share of likes, of the training rows."""
    config = SimpleCFConfig(
        num_users=num_users,
        num_items=num_items,
        factors=preset.factors,
        binary=preset.binary,
        biases=preset.biases,
        init=preset.init,
        init_arguments=preset.init_arguments,
    )
    model = SimpleCF(
        config,
        _read_table(preset.pretrained_users),
        _read_table(preset.pretrained_items),
        freeze_users=preset.freeze_users,
        freeze_items=preset.freeze_items,
    )
    if preset.biases:
        mean = torch.tensor(mean_target)
        with torch.no_grad():
            model.mean.copy_(mean.logit(eps=1e-3) if preset.binary else mean)
    return model


def train_simple_cf(
    dataset: Dataset,
    split: RowSplit,
    preset: SimpleCFPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
    warm_start: nn.Module | None = None,
) -> tuple[SimpleCF, FitResult]:
    """Train on `split.train`; the model has the weights of the best epoch on `split.validation`.

    warm_start: a collaborative model whose tables training starts from, as far as they fit.
    """

    def make_task() -> SimpleCFTask:
        events, rows = dataset.events, InMemoryRows(dataset, split.train, preset.batch_rows)
        targets = events.rating[split.train] >= LIKED_FROM if preset.binary else events.rating[split.train]
        seed_everything(seed)
        model = make_simple_cf(len(dataset.users.ids), len(dataset.items.ids), float(targets.mean()), preset)
        if warm_start is not None:
            model.warm_start_from(warm_start)
        return SimpleCFTask(
            model.to(resolve_device(device)),
            rows,
            validation=InMemoryRows(dataset, split.validation, preset.batch_rows).all(),
            trained=(
                _occurring(events.user[split.train], model.config.num_users, preset.pretrained_users is not None),
                _occurring(events.item[split.train], model.config.num_items, preset.pretrained_items is not None),
            ),
            preset=preset,
            seed=seed,
            data_name=dataset.name,
        )

    task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
    return task.simple_cf, result


def _fingerprint(model: SimpleCF) -> str:
    """16 hex digits over the tables: they may come from files or another model, which no preset tells apart."""
    tables = (model.user_embeddings.weight, model.item_embeddings.weight)
    return hashlib.sha256(b"".join(table.detach().cpu().numpy().tobytes() for table in tables)).hexdigest()[:16]


def _read_table(path: Path | None) -> Tensor | None:
    if path is None:
        return None
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"{path} is no table of numbers: {error}; save a 2-d array with numpy.save"
        ) from error


def _occurring(rows: NDArray[np.integer], count: int, everyone: bool) -> Tensor:
    """[count + 1] bool: whether each index has a training row."""
    trained = torch.full((count + 1,), everyone)
    trained[torch.from_numpy(rows.astype(np.int64) + 1)] = True
    return trained
