"""DCN laid out for serving: the same scores as `DCN.score`.

The network's first products, those of the deep layers and of `cross_served`, are of x_0 = [user, item, products of
both] with fixed columns. An item's share of them is a row of a table, made when a bundle is loaded, the user's is
computed once per request, and what is left per pair is one product with as many rows as there are products of factors:
none where users and items only meet in the network.

Shape legend: B users, N candidates, I items, D inputs of the network, C readouts, T columns of an item, F features,
S factors that are inputs of their own, Z factors, W what a history reads of an item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.features.batch import UserBatch
from recstack.models.cross_served import served_cross
from recstack.models.dcn import DCN
from recstack.models.ranker import Prediction, Served


@dataclass(frozen=True, slots=True)
class ServedUsers:
    """Of each user: the share of the readouts, the factors, and the inputs of the network that are the user's alone."""

    read_B1C: Tensor
    factors_B1Z: Tensor
    inputs_B1X: Tensor


class ServedDCN(Served):
    """See the module."""

    def __init__(self, model: DCN, item_vectors_IE: Tensor) -> None:
        """model: in eval mode. item_vectors_IE: of its `encode_items`."""
        self._model = model
        self._history_items_IW = model.history_items(item_vectors_IE)
        # A ranker of ratings averages cross and deep: their last layers are halved once, here.
        share = 0.5 if model.prediction is Prediction.RATING else 1.0
        self._cross = served_cross(model.cross, share * model.cross_out.weight[0], share * model.cross_out.bias)
        (first_FD, first_bias_F), *self._deep, (out_1F, out_bias_1) = folded_layers([*model.deep, model.deep_out])
        self._deep_out = share * out_1F[0], share * out_bias_1

        cross_DC, linear_D = self._cross.readouts_DC, self._cross.linear_D
        readouts_DC = torch.cat([cross_DC, first_FD.t(), linear_D.unsqueeze(1)], dim=1)
        self._read_widths = [cross_DC.shape[1], len(first_FD), 1]
        self._bias_C = torch.cat([self._cross.bias_C, first_bias_F, self._cross.constant.view(1)])

        features_IF, factors_IZ, bias_I = model.item_inputs(item_vectors_IE)
        self._averages = model.config.pooling == "average"
        if self._averages:
            inputs_IX = features_IF / model.tokens
            self._user_XC, item_XC, self._pair_ZC = readouts_DC, readouts_DC, readouts_DC[:0]
        else:
            factors_in_IS = _mapped(model.item_factors_in, factors_IZ)
            inputs_IX = torch.cat([features_IF, factors_in_IS], dim=1)
            self._start_widths = [features_IF.shape[1], factors_IZ.shape[1], *([factors_in_IS.shape[1]] * 2)]
            self._start_widths.insert(0, len(readouts_DC) - sum(self._start_widths))
            user_FC, item_FC, pair_ZC, user_SC, item_SC = torch.split(readouts_DC, self._start_widths)
            self._user_XC, item_XC = torch.cat([user_FC, user_SC]), torch.cat([item_FC, item_SC])
            self._pair_ZC = torch.cat([pair_ZC[:, :-1], pair_ZC[:, -1:] + 1.0], dim=1)  # scores add up the products
        read_IC = inputs_IX @ item_XC
        read_IC[:, -1] += bias_I
        columns = [read_IC, factors_IZ, inputs_IX if self._cross.reads_start else inputs_IX[:, :0]]
        self._items_IT, self._item_widths = torch.cat(columns, dim=1), [part.shape[1] for part in columns]

    def encode(self, users: UserBatch) -> ServedUsers:
        """See Served."""
        model = self._model
        features_B1F, factors_B1Z = model.user_inputs(model.encode_users_from(users, self._history_items_IW))
        if self._averages:
            inputs_B1X = features_B1F / model.tokens
        else:
            inputs_B1X = torch.cat([features_B1F, _mapped(model.user_factors_in, factors_B1Z)], dim=2)
        return ServedUsers(inputs_B1X @ self._user_XC + self._bias_C, factors_B1Z, inputs_B1X)

    def score(self, state: ServedUsers, candidates_BN: Tensor) -> Tensor:
        """See Served."""
        items_BNT = functional.embedding(candidates_BN, self._items_IT)
        read_BNC, factors_BNZ, inputs_BNX = torch.split(items_BNT, self._item_widths, dim=2)
        products_BNZ = factors_BNZ * state.factors_B1Z
        if len(self._pair_ZC):
            read_BNC = torch.baddbmm(read_BNC, products_BNZ, self._pair_ZC.expand(len(read_BNC), -1, -1))
        cross_BNC, hidden_BNF, linear_BN1 = torch.split(read_BNC.add_(state.read_B1C), self._read_widths, dim=2)
        start_BND = self._start(state.inputs_B1X, inputs_BNX, products_BNZ) if self._cross.reads_start else None
        logits_BN = self._cross.logits(cross_BNC, start_BND) + linear_BN1.squeeze(2)
        hidden_RF = hidden_BNF.flatten(0, 1).relu_()
        for weight_FF, bias_F in self._deep:
            hidden_RF = functional.linear(hidden_RF, weight_FF, bias_F).relu_()
        weight_F, bias = self._deep_out
        return logits_BN + torch.addmv(bias, hidden_RF, weight_F).view(logits_BN.shape)

    def _start(self, user_B1X: Tensor, item_BNX: Tensor, products_BNZ: Tensor) -> Tensor:
        """x_0 [B, N, D], in the order of `DCN.score`."""
        if self._averages:
            return user_B1X + item_BNX
        user_F, item_F, _, user_S, item_S = self._start_widths
        user_B1F, user_B1S = torch.split(user_B1X, [user_F, user_S], dim=2)
        item_BNF, item_BNS = torch.split(item_BNX, [item_F, item_S], dim=2)
        parts = [user_B1F, item_BNF, products_BNZ, user_B1S, item_BNS]
        return torch.cat([part.expand(-1, item_BNX.shape[1], -1) for part in parts], dim=2)


def _mapped(layer: nn.Linear | None, factors: Tensor) -> Tensor:
    return factors[..., :0] if layer is None else layer(factors)


def folded_layers(modules: Sequence[nn.Module]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the linear layers of an MLP with a ReLU after all but the last, in eval mode.

    A batch norm after a ReLU is a scale and a shift, which the next layer takes over; dropout does nothing.
    """
    layers: list[tuple[Tensor, Tensor]] = []
    scale_F: Tensor | None = None
    shift_F: Tensor | None = None
    for module in modules:
        if isinstance(module, nn.Linear):
            weight_FF: Tensor = module.weight
            bias_F: Tensor = module.bias
            if scale_F is not None and shift_F is not None:
                weight_FF, bias_F = weight_FF * scale_F, bias_F + weight_FF @ shift_F
            layers.append((weight_FF, bias_F))
            scale_F = shift_F = None
        elif isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            scale_F = module.weight * (module.running_var + module.eps).rsqrt()
            shift_F = module.bias - module.running_mean * scale_F
    return layers
