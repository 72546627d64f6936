"""DIEN and DCN of FuxiCTR and of deepctr-torch, each trained by its own forward pass and its own optimizer step.

A peer gets ready-made tensors: neither data loaders nor collation are on its clock. Its history steps and its candidate
have the same four fields: item, set of genres, year, and an opinion, which the candidate does not have yet.

Shape legend: N rows, L history steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recstack.data import Dataset, RowSplit
from recstack.features.batch import NUM_RATING_IDS
from recstack.features.catalogue import NUM_YEAR_BUCKETS
from recstack.features.schema import PROFILE_SIZES
from services.trainer.items import item_table
from services.trainer.tasks.history_at import HistoryAt
from services.trainer.tasks.segments import liked

ITEM_FIELDS = ("item", "genres", "year", "opinion")
WIDTH = 8
"""Of each field's embedding; four of them make histories of 32 units, as wide as our recurrent state."""
DEEP = (96, 48)
LEARNING_RATE = 1e-2
"""Of Adam: of 0.001, 0.003 and 0.01 the one with the best AUC after one epoch, for either model."""


@dataclass(frozen=True, slots=True)
class ClickBatch:
    """Rows as peers read them. fields_NL and target_N: by name of ITEM_FIELDS, int64, 0 = padding or none; oldest step
    first, padding after it. lengths_N: real steps. labels_N: float32."""

    profile_N4: Tensor
    fields_NL: Mapping[str, Tensor]
    target_N: Mapping[str, Tensor]
    lengths_N: Tensor
    labels_N: Tensor


class ClickRows:
    """Makes the rows of a dataset into batches for peers.

    joint_opinions: whether an opinion's id names the item too ("liked that film"), which is what models need that pool
    a history; for recurrent models it is the rating alone, as the item stands beside it.
    """

    def __init__(self, dataset: Dataset, split: RowSplit, max_history: int, joint_opinions: bool) -> None:
        table, self._events = item_table(dataset), dataset.events
        genre_sets_I = np.unique(table.genres.numpy(), axis=0, return_inverse=True)[1]
        self._genres_I, self._year_I = torch.from_numpy(genre_sets_I), table.year_bucket
        self._known, self._length, self._joint = HistoryAt(dataset, split), max_history, joint_opinions
        num_items = len(table)
        self.sizes = {
            "item": num_items,
            "genres": int(genre_sets_I.max()) + 1,
            "year": NUM_YEAR_BUCKETS,
            "opinion": num_items * NUM_RATING_IDS if joint_opinions else NUM_RATING_IDS,
        }

    def batch(self, rows: NDArray[np.int64]) -> ClickBatch:
        """The rows `rows` of the dataset's events."""
        users = self._known.users(rows, self._length)
        items_N = torch.from_numpy(self._events.item[rows].astype(np.int64) + 1)
        return ClickBatch(
            profile_N4=users.profile_B4,
            fields_NL=self._fields(users.items_BL, users.ratings_BL),
            target_N=self._fields(items_N, torch.zeros_like(items_N)),
            lengths_N=users.lengths_B,
            labels_N=torch.from_numpy(liked(self._events.rating[rows])),
        )

    def _fields(self, items: Tensor, ratings: Tensor) -> dict[str, Tensor]:
        opinions = items * NUM_RATING_IDS + ratings if self._joint else ratings
        return {"item": items, "genres": self._genres_I[items], "year": self._year_I[items], "opinion": opinions}


@dataclass(frozen=True, slots=True)
class Peer:
    """Another library's model. inputs: a batch in the form that `step` takes, made off the clock. step: one training
    step. predict: probabilities of a batch."""

    model: nn.Module
    inputs: Callable[[ClickBatch], Any]
    step: Callable[[Any], object]
    predict: Callable[[Any], Tensor]


def fuxictr(model: str, rows: ClickRows) -> Peer:
    """FuxiCTR's "DIEN" or "DCN" (DIEN and DCNv2 of its long-history collection), trained by its own `train_step`."""
    from fuxictr.features import FeatureMap
    from model_zoo.LongCTR.DCNv2.DCNv2 import DCNv2
    from model_zoo.LongCTR.DIEN.DIEN import DIEN

    features = FeatureMap("bench", data_dir="")  # nothing is read from files
    for name, size in PROFILE_SIZES.items():
        features.features[name] = {"type": "categorical", "source": "user", "vocab_size": size}
    for name, size in rows.sizes.items():
        features.features[name] = {"type": "categorical", "source": "item", "vocab_size": size, "padding_idx": 0}
    features.labels = ["label"]
    features.num_fields = features.get_num_fields()
    features.default_emb_dim = WIDTH
    common = {
        "gpu": -1, "embedding_dim": WIDTH, "learning_rate": LEARNING_RATE, "optimizer": "adam",
        "loss": "binary_crossentropy", "verbose": 0, "metrics": ["AUC"], "model_root": ".",
        "task": "binary_classification",
    }  # fmt: skip
    network: Any
    if model == "DIEN":
        network = DIEN(features, dnn_hidden_units=list(DEEP), gru_type="AUGRU", **common)
    else:
        network = DCNv2(features, parallel_dnn_hidden_units=list(DEEP), num_cross_layers=2, **common)
    network._max_gradient_norm, network._batch_index = 10.0, 0  # what its `fit` would have set

    def inputs(batch: ClickBatch) -> Any:
        columns = {name: batch.profile_N4[:, number] for number, name in enumerate(PROFILE_SIZES)}
        joined = {
            name: torch.cat([batch.fields_NL[name], batch.target_N[name].unsqueeze(1)], dim=1).flatten()
            for name in ITEM_FIELDS
        }
        mask_NL = torch.arange(batch.fields_NL["item"].shape[1]) < batch.lengths_N.unsqueeze(1)
        return columns | {"label": batch.labels_N}, joined, mask_NL.float()

    return Peer(network, inputs, network.train_step, lambda batch: network(batch)["y_pred"].squeeze(1))


def deepctr(model: str, rows: ClickRows, max_history: int) -> Peer:
    """deepctr-torch's "DIEN" or "DCN", with the optimizer step of its `fit`."""
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import DCN, DIEN

    columns: list[Any] = [SparseFeat(name, size, WIDTH) for name, size in (PROFILE_SIZES | rows.sizes).items()]
    for name, size in rows.sizes.items():
        shared = SparseFeat(f"hist_{name}", size, WIDTH, embedding_name=name)
        columns.append(VarLenSparseFeat(shared, max_history, combiner="mean", length_name="length"))
    network: Any
    if model == "DIEN":
        network = DIEN(columns, list(ITEM_FIELDS), gru_type="AUGRU", dnn_hidden_units=DEEP, init_std=0.05)
    else:
        network = DCN(columns, columns, cross_num=2, cross_parameterization="matrix", dnn_hidden_units=DEEP)
    network.compile(torch.optim.Adam(network.parameters(), LEARNING_RATE), "binary_crossentropy")

    def inputs(batch: ClickBatch) -> Any:
        missing = max_history - batch.fields_NL["item"].shape[1]
        values = {name: batch.profile_N4[:, [number]] for number, name in enumerate(PROFILE_SIZES)}
        values |= {name: batch.target_N[name].unsqueeze(1) for name in ITEM_FIELDS}
        values |= {f"hist_{name}": nn.functional.pad(batch.fields_NL[name], (0, missing)) for name in ITEM_FIELDS}
        values["length"] = batch.lengths_N.unsqueeze(1)
        return torch.cat([values[name] for name in network.feature_index], dim=1).float(), batch.labels_N

    def step(batch: Any) -> None:
        columns_NX, labels_N = batch
        probabilities_N = network(columns_NX).squeeze(1)
        network.optim.zero_grad()
        loss = network.loss_func(probabilities_N, labels_N, reduction="sum")
        (loss + network.get_regularization_loss() + network.aux_loss).sum().backward()
        network.optim.step()

    return Peer(network, inputs, step, lambda batch: network(batch[0]).squeeze(1))
