"""Two-tower training on what comes next: every event of a history is the target of the state before it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch

from recstack.data.dataset import Dataset
from recstack.data.splits import RowSplit
from recstack.errors import InvalidRequestError
from recstack.evaluation.leave_one_out import DEPTH, leave_one_out_metrics, next_item_cases
from recstack.evaluation.retrieval_metrics import rank_unseen
from recstack.models.two_tower_sequence import SequenceTwoTower, SequenceTwoTowerConfig
from services.trainer.fit import ALONE, FitConfig, Loss, Worker, seed_everything
from services.trainer.items import item_table
from services.trainer.tasks.catalogue_softmax import unseen_cross_entropy
from services.trainer.tasks.two_tower_scores import two_tower_scores
from services.trainer.tasks.two_tower_windows import TrainingSequences, WindowBatch, WindowEpoch


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceTwoTowerPreset:
    """One dial for the size of a training run.

    max_history: events of a user that the model is given, in a training step and when it serves. states_per_batch:
    states of a batch; small batches decide, for what is learnt in a given time grows with the number of steps.
    """

    fit: FitConfig
    vector_dim: int = 128
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.2
    max_history: int = 200
    states_per_batch: int = 2500

    def task(self, dataset: Dataset, split: RowSplit, device: torch.device, seed: int) -> "SequenceTask":
        """What to train, and on what."""
        return SequenceTask(dataset, split, self, device, seed)


class SequenceTask:
    """Next-event training on the training events, judged by each user's first validation event.

    On the split of `leave_one_out_split` that is protocol S1. Any temporal split will do.
    """

    name = "two_tower"
    metric_name = "ndcg@10"
    lower_is_better = False

    def __init__(
        self, dataset: Dataset, split: RowSplit, preset: SequenceTwoTowerPreset, device: torch.device, seed: int
    ) -> None:
        if not split.temporal:
            raise InvalidRequestError(
                "the split is not in time; what comes next needs a temporal or leave-one-out split"
            )
        self._preset, self._device, self._seed = preset, device, seed
        self._dataset_name, self._split = dataset.name, split
        _, first = np.unique(dataset.events.user[split.validation], return_index=True)
        self._cases = next_item_cases(dataset, split.validation[first])
        self._sequences = TrainingSequences(dataset, split.train)
        self.table = item_table(dataset).to(device)
        seed_everything(seed)
        config = SequenceTwoTowerConfig(
            num_items=len(dataset.items.ids),
            vector_dim=preset.vector_dim,
            heads=preset.heads,
            blocks=preset.blocks,
            dropout=preset.dropout,
            max_history=preset.max_history,
        )
        self.model = SequenceTwoTower(config).to(device)

    def identity(self) -> Mapping[str, object]:
        """Preset, seed and data."""
        return {
            "preset": asdict(self._preset),
            "seed": self._seed,
            "dataset": self._dataset_name,
            "train": len(self._split.train),
            "validation": len(self._split.validation),
        }

    def batches(self, epoch: int, worker: Worker = ALONE) -> WindowEpoch:
        """Every training event once."""
        return WindowEpoch(
            self._sequences,
            max_history=self._preset.max_history,
            states_per_batch=self._preset.states_per_batch,
            seed=self._seed,
            epoch=epoch,
            worker=worker,
        )

    def samples(self, batch: WindowBatch) -> int:
        """Events that are targets."""
        return int((batch.targets_BP > 0).sum())

    def loss(self, batch: WindowBatch) -> Loss:
        """Cross-entropy of the next event among the items that the window has not shown, at every state."""
        batch = batch.to(self._device)
        every_1P = torch.arange(batch.targets_BP.shape[1], device=self._device).unsqueeze(0)
        states_BPD = self.model.encode_prefixes_from(batch.users, self.model.history_items(self.table), every_1P)
        items_ID = self.model.encode_items(self.table)
        total = unseen_cross_entropy(states_BPD, items_ID, batch.targets_BP, batch.users.items_BL)
        return Loss(total, (batch.targets_BP > 0).sum())

    def validate(self) -> dict[str, float]:
        """Protocol S1's metrics on the validation cases."""
        scores_QI = two_tower_scores(self.model, self.table, self._cases)
        return leave_one_out_metrics(rank_unseen(scores_QI, self._cases.seen, DEPTH), self._cases.truth)
