"""Cross layers: explicit products of features, of a degree that grows by one with each layer.

Wang et al., Deep & Cross Network for Ad Click Predictions, 2017 (vector), and Wang et al., DCN V2: Improved Deep &
Cross Network and Practical Lessons for Web-scale Learning to Rank Systems, 2021 (matrix, mixture of low rank). Each
maps x_l to x_{l+1} = x_0 * f_l(x_l) + x_l; they differ in f_l.

Shape legend: ... any leading axes, D features, X experts, R rank of an expert.
"""

import torch
from torch import Tensor, nn


class VectorCross(nn.Module):
    """x_{l+1} = x_0 (x_l^T w_l) + b_l + x_l, with vectors w_l and b_l (Wang et al., 2017, equation 3)."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.weight_LD = nn.Parameter(torch.randn(layers, dim) / dim**0.5)
        self.bias_LD = nn.Parameter(torch.zeros(layers, dim))

    def forward(self, start_D: Tensor) -> Tensor:
        """Crossed features, of the shape of `start_D` [..., D]."""
        crossed_D = start_D
        for weight_D, bias_D in zip(self.weight_LD, self.bias_LD, strict=True):
            crossed_D = start_D * (crossed_D @ weight_D).unsqueeze(-1) + bias_D + crossed_D
        return crossed_D

    def penalty(self) -> Tensor:
        """Sum of squared cross weights."""
        return self.weight_LD.square().sum()


class MatrixCross(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (Wang et al., 2021, equation 1)."""

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))

    def forward(self, start_D: Tensor) -> Tensor:
        """Crossed features, of the shape of `start_D` [..., D]."""
        crossed_D = start_D
        for layer in self.layers:
            crossed_D = start_D * layer(crossed_D) + crossed_D
        return crossed_D

    def penalty(self) -> Tensor:
        """Sum of squared cross weights."""
        return _squares(self)


class MixtureCross(nn.Module):
    """A gated mixture of low-rank cross layers (Wang et al., 2021, equations 3 and 4).

    x_{l+1} = sum_e G_e(x_l) x_0 * (U_e tanh(C_e tanh(V_e^T x_l)) + b) + x_l, with gates G that sum to 1, so that the
    mixture is one product with all experts' U side by side.
    """

    def __init__(self, dim: int, layers: int, rank: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.gates = nn.ModuleList(nn.Linear(dim, experts) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(dim, experts * rank, bias=False) for _ in range(layers))
        self.mix_LXRR = nn.Parameter(torch.randn(layers, experts, rank, rank) / rank**0.5)
        self.up = nn.ModuleList(nn.Linear(experts * rank, dim) for _ in range(layers))

    def forward(self, start_D: Tensor) -> Tensor:
        """Crossed features, of the shape of `start_D` [..., D]."""
        crossed_D = start_D
        for gate, down, mix_XRR, up in zip(self.gates, self.down, self.mix_LXRR, self.up, strict=True):
            gates_X1 = gate(crossed_D).softmax(-1).unsqueeze(-1)
            low_XR = down(crossed_D).tanh().unflatten(-1, (self.experts, -1))
            mixed_XR = torch.einsum("...xr,xrs->...xs", low_XR, mix_XRR).tanh()
            crossed_D = start_D * up((gates_X1 * mixed_XR).flatten(-2)) + crossed_D
        return crossed_D

    def penalty(self) -> Tensor:
        """Sum of squared cross weights."""
        return _squares(self)


def _squares(module: nn.Module) -> Tensor:
    """Sum of the squares of a module's matrices; biases have fewer axes."""
    return torch.stack([weight.square().sum() for weight in module.parameters() if weight.ndim > 1]).sum()
