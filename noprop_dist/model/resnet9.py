"""ResNet-9 of the fast CIFAR-10 nets as a block: convolutions for the image, z by modulation.

B batch, K classes, D embedding width, E features of the image.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block, BlockShape, Takes
from noprop_dist.model.dropout import KeyedDropout
from noprop_dist.model.level import LevelEmbedding, ZeroLinear


class ConvNorm(nn.Module):
    """A 3x3 convolution, max-pooling where it is asked for, batch norm and ReLU."""

    def __init__(self, channels: int, width: int, *, pooled: bool = False, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm, self.pooled = nn.BatchNorm2d(width), pooled

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W), or H and W by the stride, or halved."""
        h = self.conv(x)
        if self.pooled:
            h = F.max_pool2d(h, 2)
        return F.relu(self.norm(h))


class Residual(nn.Module):
    """Two of them, added to what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(ConvNorm(width, width), ConvNorm(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        h: Tensor = self.layers(x)
        return x + h


class ResNet9Block(Block):
    """Page's ResNet-9 (DAWNBench, 2018) up to its global max-pool.

    The image's features are made without z. An embedding of z, and of the noise level where it is
    told, then scales and shifts them (FiLM), and two linear layers give the logits.

    Args:
        shape: what it is built for.
        width: channels of the first convolution; the last ones have eight times as many.
    """

    takes = Takes("images", least=8, level=True)

    def __init__(self, shape: BlockShape, *, width: int = 64) -> None:
        super().__init__(shape)
        if width < 1:
            raise UserError(f"a ResNet-9 of width={width} cannot be: give width=1 or more.")
        features = 8 * width
        self.image = nn.Sequential(
            ConvNorm(shape.sample[0], width),
            ConvNorm(width, 2 * width, pooled=True),
            Residual(2 * width),
            ConvNorm(2 * width, 4 * width, pooled=True),
            ConvNorm(4 * width, features, pooled=True),
            Residual(features),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.drop = KeyedDropout(shape.dropout)
        self.label = nn.Sequential(
            nn.Linear(shape.embed_dim, features), nn.ReLU(), nn.Linear(features, features)
        )
        self.level = LevelEmbedding(features) if shape.told_level else None
        self.modulate = ZeroLinear(features, 2 * features)
        self.norm = nn.BatchNorm1d(features)
        self.hidden = nn.Linear(features, features)
        self.head = nn.Linear(features, shape.num_classes)

    @override
    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        features: Tensor = self.drop(self.norm(self.image(x)), generator)
        return features

    @override
    def classify(
        self,
        z: Tensor,
        features: Any,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        told = self.label(z)
        if self.level is not None and level is not None:
            told = told + self.level(level)
        scale, shift = self.modulate(F.relu(told)).chunk(2, dim=1)
        h = F.relu(self.hidden(features * (1 + scale) + shift))
        logits: Tensor = self.head(h)
        return logits
