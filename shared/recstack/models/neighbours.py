"""Neighbours: what the user thought of the items most like the candidate, a learnt item-kNN.

Scaled dot-product attention (Vaswani et al., Attention Is All You Need, 2017) of the candidate over the whole history;
its values carry the signed opinions. A step of zeros stands before the history, so that a candidate without similar
items gets little rather than an average of what is unlike it, and an empty history gets nothing.

Shape legend: B users, N candidates, L history steps, D item features, V value inputs, A heads, W head width.
"""

import torch
from torch import Tensor, nn


class Neighbours(nn.Module):
    """Attention over a signed history. `remember` once per user, then call once per candidates."""

    def __init__(self, item_dim: int, value_dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(item_dim, heads * width, bias=False)
        self.key = nn.Linear(item_dim, heads * width, bias=False)
        self.value = nn.Linear(value_dim, heads * width, bias=False)

    def remember(self, items_BLD: Tensor, values_BLV: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, A, 1 + L, W]; the first is the step of zeros."""
        return self.split(self.key(items_BLD)), self.split(self.value(values_BLV))

    def forward(self, memory: tuple[Tensor, Tensor], candidates_BND: Tensor, visible_BM: Tensor) -> Tensor:
        """[B, N, A * W]; each candidate sees the first `visible_BM` steps (M is N or 1)."""
        steps = torch.arange(memory[0].shape[2], device=visible_BM.device)
        seen_B1ML = (steps <= visible_BM.clamp(min=0).unsqueeze(2)).unsqueeze(1)
        return self.look(*memory, self.query(candidates_BND), seen_B1ML)

    def split(self, rows_BLX: Tensor) -> Tensor:
        """Keys or values [B, L, A * W] as heads [B, A, 1 + L, W], the step of zeros before them."""
        padded_BLX = nn.functional.pad(rows_BLX, (0, 0, 1, 0))
        return self._heads(padded_BLX)

    def look(self, keys_BALW: Tensor, values_BALW: Tensor, queries_BNX: Tensor, seen_B1ML: Tensor) -> Tensor:
        """What queries find, [B, N, A * W]; seen_B1ML: whether a step is visible, the step of zeros first."""
        queries_BANW = self._heads(queries_BNX)
        found_BANW = nn.functional.scaled_dot_product_attention(
            queries_BANW, keys_BALW, values_BALW, attn_mask=seen_B1ML
        )
        return found_BANW.transpose(1, 2).flatten(2)

    def _heads(self, rows_BLX: Tensor) -> Tensor:
        return rows_BLX.view(*rows_BLX.shape[:2], self.heads, -1).transpose(1, 2)
