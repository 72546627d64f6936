"""Cross layers laid out for serving: the logit that a linear layer makes of what they end with.

Where x_0 is [user, item, products of both], a product of x_0 with a fixed matrix is the sum of three, of which one is
known per user and one per item. So each form of cross layers is written with as few products as can be with anything
but x_0: `logits` takes x_0's products with fixed columns, its readouts.

x_l = x_0 * s_l with s_0 = 1, so that s_{l+1} = s_l + f_l(x_l), and the logit w^T x_L = sum(w * x_0 * s_L): of the last
layer nothing is expanded to the width of x_0.

Shape legend: ... any leading axes, D features, C readouts, L layers, X experts, R rank of an expert, Y = X * R.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from recstack.models.cross_layers import MatrixCross, MixtureCross, VectorCross
from recstack.models.rollout import tanh_


class ServedCross(ABC):
    """Cross layers and the linear layer after them.

    `logits` is given the readouts x_0 @ readouts_DC + bias_C, and x_0 @ linear_D + constant is to be added to what it
    returns.
    """

    readouts_DC: Tensor
    bias_C: Tensor
    linear_D: Tensor
    constant: Tensor

    @property
    @abstractmethod
    def reads_start(self) -> bool:
        """Whether `logits` looks at x_0 itself."""

    @abstractmethod
    def logits(self, read_C: Tensor, start_D: Tensor | None) -> Tensor:
        """The rest of the logit [...], given the readouts and, where it is read, x_0."""


def served_cross(cross: VectorCross | MatrixCross | MixtureCross, weight_D: Tensor, bias: Tensor) -> ServedCross:
    """`cross`, and a linear layer to one logit after it."""
    if isinstance(cross, VectorCross):
        return ServedVectorCross(cross, weight_D, bias)
    if isinstance(cross, MatrixCross):
        return ServedMatrixCross(cross, weight_D, bias)
    return ServedMixtureCross(cross, weight_D, bias)


class ServedVectorCross(ServedCross):
    """x_l = a_l x_0 + (b_0 + ... + b_{l-1}) with a number a_l per pair, for which x_0's products with w_l suffice."""

    reads_start = False

    def __init__(self, cross: VectorCross, weight_D: Tensor, bias: Tensor) -> None:
        before_LD = cross.bias_LD.cumsum(0) - cross.bias_LD
        self.readouts_DC = torch.cat([cross.weight_LD, weight_D.unsqueeze(0)]).t()
        self.bias_C = torch.ones_like(self.readouts_DC[0])  # a_{l+1} = a_l (1 + x_0^T w_l) + offset_l
        self.bias_C[-1] = 0.0
        self._offsets_L = (before_LD * cross.weight_LD).sum(1)
        self.linear_D = torch.zeros_like(weight_D)
        self.constant = cross.bias_LD.sum(0) @ weight_D + bias

    def logits(self, read_C: Tensor, start_D: Tensor | None) -> Tensor:
        """See ServedCross."""
        scale, *layers, out = read_C.unbind(-1)
        for read, offset in zip(layers, self._offsets_L[1:], strict=True):
            scale = torch.addcmul(offset, scale, read)
        return scale * out


class ServedMatrixCross(ServedCross):
    """With two layers nothing but x_0 is multiplied with a matrix: the first reads x_0, and the last one's product is
    taken from the side of the logit, sum(s * x_0 * (w + W^T (w * x_0)))."""

    reads_start = True

    def __init__(self, cross: MatrixCross, weight_D: Tensor, bias: Tensor) -> None:
        layers = _linears(cross.layers)
        self._between, last = layers[1:-1], layers[-1]
        first = layers[:1] if len(layers) > 1 else []
        self.readouts_DC = torch.cat([*(layer.weight.t() for layer in first), weight_D.unsqueeze(1) * last.weight], 1)
        self.bias_C = torch.cat([*(layer.bias + 1.0 for layer in first), weight_D])  # 1: s_0
        self.linear_D, self.constant = weight_D * last.bias, bias

    def logits(self, read_C: Tensor, start_D: Tensor | None) -> Tensor:
        """See ServedCross."""
        assert start_D is not None
        *first, last_D = torch.split(read_C, start_D.shape[-1], dim=-1)
        crossed_D = start_D
        if first:
            sum_D = first[0]
            for layer in self._between:
                sum_D = sum_D + layer(start_D * sum_D)
            crossed_D = start_D * sum_D
        return (crossed_D * last_D).sum(-1)


class ServedMixtureCross(ServedCross):
    """The expansion U z of a layer's low-rank z meets the logit as z^T (U^T (w * x_0)), which reads x_0 alone."""

    def __init__(self, cross: MixtureCross, weight_D: Tensor, bias: Tensor) -> None:
        gates, downs, ups = (_linears(layers) for layers in (cross.gates, cross.down, cross.up))
        self._experts = cross.experts
        self._mix_LYY = [torch.block_diag(*mix_XRR) for mix_XRR in cross.mix_LXRR]  # type: ignore[no-untyped-call]
        self._down_LCD = [torch.cat([gate.weight, down.weight]) for gate, down in zip(gates, downs, strict=True)]
        silent_Y = torch.zeros_like(downs[0].weight[:, 0])
        self._down_bias_LC = [torch.cat([gate.bias, silent_Y]) for gate in gates]
        self._up_LDY = [up.weight for up in ups]
        self._up_bias_LD = torch.stack([up.bias for up in ups])
        self._up_bias_LD[0] += 1.0  # s_0
        self.readouts_DC = torch.cat(
            [self._down_LCD[0].t(), *(weight_D.unsqueeze(1) * up_DY for up_DY in self._up_LDY)], dim=1
        )
        no_bias_X = torch.zeros_like(self.readouts_DC[0, len(self._down_bias_LC[0]) :])
        self.bias_C = torch.cat([self._down_bias_LC[0], no_bias_X])
        self.linear_D, self.constant = weight_D * self._up_bias_LD.sum(0), bias

    @property
    def reads_start(self) -> bool:
        """Layers after the first read crossed features."""
        return len(self._up_LDY) > 1

    def logits(self, read_C: Tensor, start_D: Tensor | None) -> Tensor:
        """See ServedCross."""
        low = self._mix_LYY[0].shape[0]
        read_first_C, *read_up = torch.split(read_C, [self._experts + low, *([low] * len(self._up_LDY))], dim=-1)
        low_Y = self._mixed(0, read_first_C)
        logits = (low_Y * read_up[0]).sum(-1)
        sum_D: Tensor | None = None
        for layer in range(1, len(self._up_LDY)):
            assert start_D is not None
            step_D = functional.linear(low_Y, self._up_LDY[layer - 1], self._up_bias_LD[layer - 1])
            sum_D = step_D if sum_D is None else sum_D + step_D
            down_C = functional.linear(start_D * sum_D, self._down_LCD[layer], self._down_bias_LC[layer])
            low_Y = self._mixed(layer, down_C)
            logits += (low_Y * read_up[layer]).sum(-1)
        return logits

    def _mixed(self, layer: int, down_C: Tensor) -> Tensor:
        """The gated mixture [..., Y] of experts, given gates and low-rank features side by side."""
        gates_X, low_Y = torch.split(down_C, [self._experts, down_C.shape[-1] - self._experts], dim=-1)
        mixed_Y = tanh_(tanh_(low_Y.clone(memory_format=torch.contiguous_format)) @ self._mix_LYY[layer])
        # Experts first: a softmax along a last axis of a few is many times slower.
        shares_X = gates_X.movedim(-1, 0).contiguous().softmax(0).movedim(0, -1)
        mixed_Y.view(*mixed_Y.shape[:-1], self._experts, -1).mul_(shares_X.unsqueeze(-1))
        return mixed_Y


def _linears(modules: nn.ModuleList) -> list[nn.Linear]:
    return [module for module in modules if isinstance(module, nn.Linear)]
