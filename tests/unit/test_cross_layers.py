"""Cross layers against their formulas, written out row by row."""

import pytest
import torch
from torch import nn

from recstack.models.cross_layers import MatrixCross, MixtureCross, VectorCross


def test_the_vector_cross_is_the_formula_of_2017() -> None:
    torch.manual_seed(0)
    cross, start_D = VectorCross(5, 3), torch.randn(5)
    nn.init.normal_(cross.bias_LD)
    expected_D = start_D
    for weight_D, bias_D in zip(cross.weight_LD, cross.bias_LD, strict=True):
        expected_D = start_D * (expected_D @ weight_D).item() + bias_D + expected_D
    torch.testing.assert_close(cross(start_D.expand(2, 3, 5))[1, 2], expected_D)


def test_the_matrix_cross_is_the_formula_of_2021() -> None:
    torch.manual_seed(0)
    cross, start_D = MatrixCross(4, 2), torch.randn(4)
    expected_D = start_D
    for layer in cross.layers:
        assert isinstance(layer, nn.Linear)
        expected_D = start_D * (layer.weight @ expected_D + layer.bias) + expected_D
    torch.testing.assert_close(cross(start_D), expected_D)


def test_the_mixture_is_the_gated_sum_of_its_experts() -> None:
    torch.manual_seed(0)
    cross, start_D = MixtureCross(4, 1, rank=3, experts=2), torch.randn(4)
    gates = torch.softmax(cross.gates[0](start_D), 0)
    total_D = torch.zeros(4)
    for expert in range(2):
        own = slice(3 * expert, 3 * expert + 3)
        low_R = torch.tanh(cross.down[0].weight[own] @ start_D)
        mixed_R = torch.tanh(low_R @ cross.mix_LXRR[0, expert])
        total_D = total_D + gates[expert] * start_D * (cross.up[0].weight[:, own] @ mixed_R + cross.up[0].bias)
    torch.testing.assert_close(cross(start_D), total_D + start_D)


@pytest.mark.parametrize("cross", [VectorCross(4, 2), MatrixCross(4, 2), MixtureCross(4, 2, rank=2, experts=2)])
def test_the_penalty_is_on_weights_and_not_on_biases(cross: VectorCross | MatrixCross | MixtureCross) -> None:
    with torch.no_grad():
        for weight in cross.parameters():
            weight.fill_(0.0)
    assert cross.penalty().item() == 0.0
    weights = [weight for name, weight in cross.named_parameters() if "bias" not in name]
    with torch.no_grad():
        for weight in weights:
            weight.fill_(2.0)
        for name, bias in cross.named_parameters():
            if "bias" in name:
                bias.fill_(7.0)
    assert cross.penalty().item() == pytest.approx(4.0 * sum(weight.numel() for weight in weights))
