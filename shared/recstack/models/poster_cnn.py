"""A small convolutional network for thumbnails.

Shape legend: I pictures, H height, X width, C channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS_PER_GROUP = 8


class PosterCNN(nn.Module):
    """Pictures [I, 3, H, X] (uint8 RGB) to features [I, `out_features`], the mean over what the last layer sees.

    Each layer halves both sides. Channels are normalised in groups within a picture (Wu and He, Group Normalization,
    2018), so that a picture's features do not depend on what it is batched with.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.out_features = channels[-1]
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(max(1, after // CHANNELS_PER_GROUP), after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures_I3HX: Tensor) -> Tensor:
        """Features of each picture."""
        features_ICHX: Tensor = self.layers(pictures_I3HX.to(torch.get_default_dtype()) / 127.5 - 1.0)
        return features_ICHX.mean((2, 3))
