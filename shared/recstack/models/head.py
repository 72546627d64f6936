"""The last layers of a click model, with a choice of activation.

Shape legend: R rows, F units of the first layer.
"""

import torch
from torch import Tensor, nn

from recstack.errors import InvalidRequestError
from recstack.models.dice import Dice

ACTIVATIONS = ("prelu", "dice")


class Head(nn.Module):
    """Activation, dropout, further layers, one logit. The first layer's sums are the input."""

    def __init__(self, widths: tuple[int, ...], activation: str, dropout: float) -> None:
        """widths: units of the first layer and of those after it. InvalidRequestError for an unknown activation."""
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InvalidRequestError(f"activation is {activation!r}; it must be one of {ACTIVATIONS}")
        self.activations = nn.ModuleList(Dice(width) if activation == "dice" else nn.PReLU(width) for width in widths)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(widths, (*widths[1:], 1), strict=True))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows_RF: Tensor, real_R: Tensor | None = None) -> Tensor:
        """Logits [R]. real_R: False where a row is padding; only training asks for it."""
        for number, (activation, layer) in enumerate(zip(self.activations, self.layers, strict=True)):
            rows_RF = activation(rows_RF, real_R) if isinstance(activation, Dice) else activation(rows_RF)
            rows_RF = layer(self.dropout(rows_RF) if number == 0 else rows_RF)
        return torch.squeeze(rows_RF, 1)
