"""Training of the two-tower model: a full softmax over unseen items, with a user's coming likes as the targets."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import TemporalSplit
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.features.catalogue import ItemTable
from recstack.models.devices import resolve_device
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from services.trainer.fit import ALONE, FitConfig, FitResult, Loss, Worker, seed_everything, train
from services.trainer.items import item_table
from services.trainer.tasks.two_tower_batches import RetrievalBatch, RetrievalBatches

USERS_PER_ENCODING = 256
MIN_WEIGHT = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalPreset:
    """One dial for the size of a two-tower training run.

    max_history: events of a user that the model is given, in a training step and when it serves. half_life_days: the
    age, at the end of the training period, at which a like counts half as a target.
    """

    fit: FitConfig
    width: int = 64
    vector_dim: int = 64
    heads: int = 2
    blocks: int = 1
    dropout: float = 0.1
    id_dropout: float = 0.1
    max_history: int = 200
    users_per_batch: int = 32
    prefixes_per_user: int = 8
    half_life_days: float = 60.0


RETRIEVAL_PRESETS: dict[str, RetrievalPreset] = {
    "quick": RetrievalPreset(fit=FitConfig(epochs=5, learning_rate=5e-3, max_minutes=0.75, average_decay=0.99)),
    "full": RetrievalPreset(
        fit=FitConfig(epochs=14, learning_rate=5e-3, patience=5, max_minutes=6.0, average_decay=0.995)
    ),
}


class RetrievalTask:
    """Two-tower training on the events before the validation period, judged by protocol T1 on that period.

    Loss of a prefix: cross-entropy between the softmax over the items that the prefix does not show and the user's
    likes among them, earlier ones included. Only what comes later would be a poorer target: in one sitting people
    rate the well-known first, so late likes of a sitting are obscure, and those of the next visit are not.
    """

    name = "retrieval"
    metric_name = "recall@100"
    lower_is_better = False

    def __init__(
        self, dataset: Dataset, split: TemporalSplit, preset: RetrievalPreset, device: torch.device, seed: int
    ) -> None:
        self._preset, self._device, self._seed = preset, device, seed
        self._dataset_name, self._split = dataset.name, split
        sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
        self._cases = RetrievalCases.build(dataset, sequences, split.validation)
        self.table = item_table(dataset).to(device)
        self._batches = RetrievalBatches(
            dataset,
            sequences,
            int(dataset.events.timestamp_ms[split.validation.start]),
            max_history=preset.max_history,
            users_per_batch=preset.users_per_batch,
            prefixes_per_user=preset.prefixes_per_user,
            half_life_days=preset.half_life_days,
        )
        config = TwoTowerConfig(
            num_items=len(dataset.items.ids),
            width=preset.width,
            vector_dim=preset.vector_dim,
            heads=preset.heads,
            blocks=preset.blocks,
            dropout=preset.dropout,
            id_dropout=preset.id_dropout,
            max_history=preset.max_history,
        )
        seed_everything(seed)
        self.model = TwoTower(config).to(device)

    def identity(self) -> Mapping[str, object]:
        """Preset, seed and data."""
        return {
            "preset": asdict(self._preset),
            "seed": self._seed,
            "dataset": self._dataset_name,
            "train": self._split.train.stop,
            "validation": self._split.validation.stop,
        }

    def batches(self, epoch: int, worker: Worker = ALONE) -> "_Epoch":
        """Every user once."""
        return _Epoch(self._batches, self._seed, epoch, worker)

    def samples(self, batch: RetrievalBatch) -> int:
        """Prefixes."""
        return batch.visible_BP.numel()

    def loss(self, batch: RetrievalBatch) -> Loss:
        """Cross-entropy of the batch's prefixes that have a target."""
        batch = batch.to(self._device)
        users_BPD = self.model.encode_prefixes(batch.users, self.table, batch.visible_BP) / self.model.temperature
        items_ID = self.model.encode_items(self.table)
        position_BPI = batch.seen_at_BI.unsqueeze(1) - batch.start_B.int()[:, None, None]
        shown_BPI = (position_BPI >= 0) & (position_BPI < batch.visible_BP.int().unsqueeze(2))
        target_BPI = ~shown_BPI & (batch.weight_BI > 0).unsqueeze(1)
        shown_BPI[..., 0] = True  # the unknown item is no candidate
        normaliser_BP = (users_BPD @ items_ID.T).masked_fill_(shown_BPI, -torch.inf).logsumexp(2)
        # The mean logit of the targets is the logit of their mean: a matrix product, not a pass over all logits.
        weight_BPI = target_BPI * batch.weight_BI.unsqueeze(1)
        weight_BP = weight_BPI.sum(2)
        targets_BPD = weight_BPI @ items_ID / weight_BP.clamp(min=MIN_WEIGHT).unsqueeze(2)
        loss_BP = normaliser_BP - (users_BPD * targets_BPD).sum(2)
        # A prefix counts as much as its targets do on average.
        prefix_weight_BP = weight_BP / target_BPI.sum(2).clamp(min=1)
        return Loss((loss_BP * prefix_weight_BP).sum(), prefix_weight_BP.sum().clamp(min=MIN_WEIGHT))

    def validate(self) -> dict[str, float]:
        """Protocol T1 on the validation period."""
        scores_QI = two_tower_scores(self.model, self.table, self._cases)
        return retrieval_metrics(rank_unseen(scores_QI, self._cases.seen, 500), self._cases.truth)


@dataclass(frozen=True, slots=True)
class _Epoch:
    source: RetrievalBatches
    seed: int
    epoch: int
    worker: Worker

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[RetrievalBatch]:
        return self.source.epoch(self.seed, self.epoch, self.worker)


@torch.no_grad()
def two_tower_scores(model: TwoTower, table: ItemTable, cases: RetrievalCases) -> NDArray[np.float32]:
    """[Q, I] dot products of every case's user vector with every item vector, from the inputs that serving builds."""
    items_ID = model.encode_items(table)[1:]
    device = items_ID.device
    parts = []
    for start in range(0, len(cases), USERS_PER_ENCODING):
        batch = cases.user_batch(slice(start, start + USERS_PER_ENCODING), model.config.max_history)
        parts.append((model.encode_users(batch.to(device), table) @ items_ID.T).cpu().numpy())
    return np.concatenate(parts)


def train_retrieval(
    dataset: Dataset,
    split: TemporalSplit,
    preset: RetrievalPreset,
    run_dir: Path,
    device: str = "auto",
    seed: int = 0,
    console: Console | None = None,
    workers: int = 1,
) -> tuple[TwoTower, FitResult]:
    """Train a two-tower model; an interrupted run in `run_dir` goes on. The model has its best weights."""

    def make_task() -> RetrievalTask:
        return RetrievalTask(dataset, split, preset, resolve_device(device), seed)

    task, result = train(make_task, replace(preset.fit, seed=seed), run_dir, console, workers)
    return task.model, result
