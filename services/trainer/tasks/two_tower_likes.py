"""Two-tower training on likes: a full softmax over unseen items, with a user's likes among them as the targets."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch

from recstack.data.dataset import Dataset
from recstack.data.sequences import UserSequences
from recstack.data.splits import RowSplit
from recstack.errors import InvalidRequestError
from recstack.evaluation.retrieval_cases import RetrievalCases
from recstack.evaluation.retrieval_metrics import rank_unseen, retrieval_metrics
from recstack.models.retriever import Retriever
from recstack.models.two_tower import TwoTower, TwoTowerConfig
from recstack.models.two_tower_notebook import NotebookTwoTower, NotebookTwoTowerConfig
from services.trainer.fit import ALONE, FitConfig, Loss, Worker, seed_everything
from services.trainer.items import item_table
from services.trainer.tasks.two_tower_batches import RetrievalBatch, RetrievalBatches
from services.trainer.tasks.two_tower_scores import two_tower_scores

MIN_WEIGHT = 1e-9
DEPTH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class LikesPreset(ABC):
    """One dial for the size of a training run on likes; the model's sizes are the subclass's.

    max_history: events of a user that the model is given, in a training step and when it serves. half_life_days: the
    age, at the end of the training period, at which a like counts half as a target.
    """

    fit: FitConfig
    max_history: int = 200
    users_per_batch: int = 32
    prefixes_per_user: int = 8
    half_life_days: float = 60.0

    @abstractmethod
    def model(self, dataset: Dataset) -> Retriever:
        """An untrained model for the users and items of `dataset`."""

    def task(self, dataset: Dataset, split: RowSplit, device: torch.device, seed: int) -> "LikesTask":
        """What to train, and on what."""
        return LikesTask(dataset, split, self, device, seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoTowerPreset(LikesPreset):
    """Attention over the rated history, with features on both sides."""

    width: int = 64
    vector_dim: int = 64
    heads: int = 2
    blocks: int = 1
    dropout: float = 0.1
    id_dropout: float = 0.1

    def model(self, dataset: Dataset) -> Retriever:
        """A `TwoTower`."""
        return TwoTower(
            TwoTowerConfig(
                num_items=len(dataset.items.ids),
                width=self.width,
                vector_dim=self.vector_dim,
                heads=self.heads,
                blocks=self.blocks,
                dropout=self.dropout,
                id_dropout=self.id_dropout,
                max_history=self.max_history,
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NotebookTwoTowerPreset(LikesPreset):
    """The textbook form: a user's id looks at the history."""

    vector_dim: int = 64
    heads: int = 4
    hidden: int = 128
    user_dropout: float = 0.5

    def model(self, dataset: Dataset) -> Retriever:
        """A `NotebookTwoTower`."""
        return NotebookTwoTower(
            NotebookTwoTowerConfig(
                num_users=len(dataset.users.ids),
                num_items=len(dataset.items.ids),
                vector_dim=self.vector_dim,
                heads=self.heads,
                hidden=self.hidden,
                user_dropout=self.user_dropout,
                max_history=self.max_history,
            )
        )


class LikesTask:
    """Two-tower training on the events before the validation period, judged by protocol T1 on that period.

    Loss of a prefix: cross-entropy between the softmax over the items that the prefix does not show and the user's
    likes among them, earlier ones included. Only what comes later would be a poorer target: in one sitting people
    rate the well-known first, so late likes of a sitting are obscure, and those of the next visit are not.
    """

    name = "two_tower"
    metric_name = "recall@100"
    lower_is_better = False

    def __init__(self, dataset: Dataset, split: RowSplit, preset: LikesPreset, device: torch.device, seed: int) -> None:
        if not split.temporal:
            raise InvalidRequestError("the split is not in time; give a temporal split")
        self._preset, self._device, self._seed = preset, device, seed
        self._dataset_name, self._split = dataset.name, split
        sequences = UserSequences.build(dataset.events, len(dataset.users.ids))
        period = slice(int(split.validation[0]), int(split.validation[-1]) + 1)
        self._cases = RetrievalCases.build(dataset, sequences, period)
        self.table = item_table(dataset).to(device)
        self._batches = RetrievalBatches(
            dataset,
            sequences,
            int(dataset.events.timestamp_ms[period.start]),
            max_history=preset.max_history,
            users_per_batch=preset.users_per_batch,
            prefixes_per_user=preset.prefixes_per_user,
            half_life_days=preset.half_life_days,
        )
        seed_everything(seed)
        self.model = preset.model(dataset).to(device)

    def identity(self) -> Mapping[str, object]:
        """Preset, seed and data."""
        return {
            "preset": {"kind": type(self._preset).__name__, **asdict(self._preset)},
            "seed": self._seed,
            "dataset": self._dataset_name,
            "train": len(self._split.train),
            "validation": len(self._split.validation),
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
        history_items_IW = self.model.history_items(self.table)
        users_BPD = self.model.encode_prefixes_from(batch.users, history_items_IW, batch.visible_BP)
        users_BPD = users_BPD / self.model.temperature
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
        return retrieval_metrics(rank_unseen(scores_QI, self._cases.seen, DEPTH), self._cases.truth)


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
