"""A convolution over the words of short texts, for example titles.

Kim, Convolutional Neural Networks for Sentence Classification, 2014: filters of several widths slide over the words
and the strongest answer of each filter is kept.

Shape legend: I texts, W words, D word embedding, F filters of a width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recstack.models.layers import embedding


class TextCNN(nn.Module):
    """Word ids [I, W] (0 = padding, on the right) to features [I, `out_features`]."""

    def __init__(self, vocabulary_size: int, dim: int, widths: Sequence[int], filters: int) -> None:
        super().__init__()
        self.out_features = filters * len(widths)
        self.words = embedding(vocabulary_size, dim, padding_idx=0)
        # Zeros on the right let a filter begin at every word, so that no text is too short for it.
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.ConstantPad1d((0, width - 1), 0.0), nn.Conv1d(dim, filters, width), nn.ReLU())
            for width in widths
        )

    def forward(self, words_IW: Tensor) -> Tensor:
        """Features of each text, 0 or more; all 0 for a text without words."""
        embedded_IDW = self.words(words_IW).transpose(1, 2)
        padding_I1W = (words_IW == 0).unsqueeze(1)
        pooled = [layer(embedded_IDW).masked_fill(padding_I1W, 0.0).amax(2) for layer in self.convolutions]
        return torch.cat(pooled, dim=1)
