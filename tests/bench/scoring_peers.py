"""The same rankers by others, for `tests.bench.scoring`: deepctr-torch as published, FuxiCTR from its layers.

deepctr-torch 0.3.0 brings whole models; DIEN's sampling of negatives is off, as only training needs it. FuxiCTR's wheel
brings layers and leaves models to its repository; they are put together here as there: one embedding per field,
extraction by torch's GRU, attention by an MLP on [q, k, q - k, q * k], an AUGRU of two linear maps stepped over the
history; cross network and MLP side by side. Both take a row per pair and repeat the user in each, as they do when they
predict. All histories are full, so nothing is packed and no row is padding, which is in their favour.

Shape legend: P pairs, L history steps, D embedding width.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, DIEN
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import CrossNet, CrossNetV2, FeatureEmbeddingDict, MLP_Block
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Field:
    """A column of ids: its name, how many ids there are, its embedding's width; steps: 0, or ids per row."""

    name: str
    size: int
    width: int
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Pairs as both peers take them: ids [P] or [P, steps] of each field, in the fields' order."""

    fields: tuple[Field, ...]
    ids: Mapping[str, Tensor]

    def matrix(self) -> Tensor:
        """[P, columns] float32, deepctr-torch's input; a field of several ids is followed by how many are given."""
        columns = []
        for field in self.fields:
            ids = self.ids[field.name]
            columns += [ids, (ids > 0).sum(1, keepdim=True)] if field.steps else [ids.unsqueeze(1)]
        return torch.cat(columns, dim=1).float()


def deepctr_dien(rows: Rows, hidden: tuple[int, ...], attention: tuple[int, ...]) -> nn.Module:
    """DIEN of fields "item" and "hist_item" (same embedding) and others, which go to the final MLP."""
    model = DIEN(
        _deepctr_columns(rows), ["item"], gru_type="AUGRU", use_negsampling=False, dnn_hidden_units=hidden,
        att_hidden_units=attention,
    )  # fmt: skip
    return _filled(model)


def deepctr_dcn(rows: Rows, cross: str, layers: int, deep: tuple[int, ...], batch_norm: bool) -> nn.Module:
    """DCN; cross: "vector" or "matrix"."""
    model = DCN(
        [], _deepctr_columns(rows), cross_num=layers, cross_parameterization=cross, dnn_hidden_units=deep,
        dnn_use_bn=batch_norm,
    )  # fmt: skip
    return _filled(model)


class FuxiDIEN(nn.Module):
    """DIEN from FuxiCTR's layers."""

    def __init__(self, rows: Rows, hidden: tuple[int, ...], attention: tuple[int, ...]) -> None:
        super().__init__()
        width = next(field.width for field in rows.fields if field.name == "item")
        self.embedding = FeatureEmbeddingDict(_fuxi_map(rows), width)
        self.extraction = nn.GRU(width, width, batch_first=True)
        self.attention = MLP_Block(4 * width, hidden_units=list(attention), output_dim=1)
        self.from_step, self.from_state = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        inputs = width + sum(field.width for field in rows.fields if not field.steps)
        self.mlp = MLP_Block(inputs, hidden_units=list(hidden), output_dim=1, output_activation="Sigmoid")
        _filled(self)

    def forward(self, ids: Mapping[str, Tensor]) -> Tensor:
        """Probabilities [P, 1]."""
        embedded = self.embedding(ids)
        steps_PLD, query_PD = embedded.pop("hist_item"), embedded["item"]
        states_PLD = self.extraction(steps_PLD)[0]
        query_PLD = query_PD.unsqueeze(1).expand_as(states_PLD)
        both_PLX = torch.cat([query_PLD, states_PLD, query_PLD - states_PLD, query_PLD * states_PLD], dim=-1)
        weights_PL = self.attention(both_PLX).squeeze(2).softmax(1)
        interest_PD = torch.zeros_like(query_PD)
        for step in range(states_PLD.shape[1]):
            x_u, x_r, x_c = self.from_step(states_PLD[:, step]).chunk(3, 1)
            h_u, h_r, h_c = self.from_state(interest_PD).chunk(3, 1)
            update_PD = weights_PL[:, step : step + 1] * torch.sigmoid(x_u + h_u)
            new_PD = torch.tanh(x_c + torch.sigmoid(x_r + h_r) * h_c)
            interest_PD = interest_PD + update_PD * (new_PD - interest_PD)
        logits: Tensor = self.mlp(torch.cat([interest_PD, *embedded.values()], dim=-1))
        return logits


class FuxiDCN(nn.Module):
    """DCN from FuxiCTR's layers; cross: "vector" (2017) or "matrix" (V2). Fields of several ids are averaged."""

    def __init__(self, rows: Rows, cross: str, layers: int, deep: tuple[int, ...], batch_norm: bool) -> None:
        super().__init__()
        inputs = sum(field.width for field in rows.fields)
        self.embedding = FeatureEmbeddingDict(_fuxi_map(rows), rows.fields[0].width)
        self.cross = (CrossNet if cross == "vector" else CrossNetV2)(inputs, layers)
        self.deep = MLP_Block(inputs, hidden_units=list(deep), batch_norm=batch_norm)
        self.out = nn.Linear(inputs + deep[-1], 1)
        _filled(self)

    def forward(self, ids: Mapping[str, Tensor]) -> Tensor:
        """Probabilities [P, 1]."""
        embedded = self.embedding(ids)
        inputs_PD = torch.cat([part.mean(1) if part.ndim == 3 else part for part in embedded.values()], dim=-1)
        return torch.sigmoid(self.out(torch.cat([self.cross(inputs_PD), self.deep(inputs_PD)], dim=-1)))


def _deepctr_columns(rows: Rows) -> list[SparseFeat | VarLenSparseFeat]:
    columns: list[SparseFeat | VarLenSparseFeat] = []
    for field in rows.fields:
        one = SparseFeat(field.name, field.size, field.width, embedding_name=_table_name(field))
        columns.append(VarLenSparseFeat(one, field.steps, length_name=f"{field.name}_length") if field.steps else one)
    return columns


def _fuxi_map(rows: Rows) -> FeatureMap:
    features = FeatureMap("bench", ".")
    features.features = OrderedDict(
        (
            field.name,
            {"type": "sequence" if field.steps else "categorical", "vocab_size": field.size, "source": ""}
            | {"embedding_dim": field.width}
            | ({"share_embedding": _table_name(field)} if _table_name(field) != field.name else {}),
        )
        for field in rows.fields
    )
    return features


def _table_name(field: Field) -> str:
    return field.name.removeprefix("hist_")


@torch.no_grad()
def _filled(model: nn.Module) -> nn.Module:
    """In eval mode, with weights of usual size: published starts are so small that products might be subnormal."""
    for weight in model.parameters():
        weight.normal_(std=0.1)
    return model.eval()
