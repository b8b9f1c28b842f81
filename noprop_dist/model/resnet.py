"""A ResNet of as many layers as it is told, all of one width: one that can be cut into blocks.

B batch, K classes, D embedding width, E channels.
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
from noprop_dist.model.resnet9 import ConvNorm

LARGEST_SIDE = 16  # of the maps that layers work on: halved until no side is longer


class ResidualLayer(nn.Module):
    """Two 3x3 convolutions, added to what they are given; z scales and shifts between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)
        )
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.modulate = ZeroLinear(width, 2 * width)

    def forward(self, maps: Tensor, told: Tensor) -> Tensor:
        """(B, E, H, W) of maps and (B, E) of z and level -> (B, E, H, W)."""
        scale, shift = self.modulate(told)[:, :, None, None].chunk(2, dim=1)
        h = F.relu(torch.addcmul(shift, self.norm1(self.conv1(maps)), 1 + scale))
        out: Tensor = F.relu(maps + self.norm2(self.conv2(h)))
        return out


class ResNetLayersBlock(Block):
    """A first convolution, halvings of large images, and residual layers that z modulates.

    Deviation from ResNet, whose later layers are wider and smaller: layers of one size can be cut
    into blocks that all take the same memory.

    Args:
        shape: what it is built for.
        depth: residual layers, of two convolutions each.
        width: E, channels of every layer.
    """

    takes = Takes("images", least=4, level=True)

    def __init__(self, shape: BlockShape, *, depth: int = 4, width: int = 64) -> None:
        super().__init__(shape)
        if depth < 1 or width < 1:
            raise UserError(
                f"a ResNet of depth={depth}, width={width} cannot be: give 1 or more of both."
            )
        stem, channels, side = [], shape.sample[0], max(shape.sample[1:])
        while side > LARGEST_SIDE:
            stem.append(ConvNorm(channels, width, stride=2))
            channels, side = width, -(-side // 2)
        self.stem = nn.Sequential(*(stem or [ConvNorm(channels, width)]))
        self.label = nn.Sequential(
            nn.Linear(shape.embed_dim, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.level = LevelEmbedding(width) if shape.told_level else None
        self.layers = nn.ModuleList(ResidualLayer(width) for _ in range(depth))
        self.drop = KeyedDropout(shape.dropout)
        self.head = nn.Linear(width, shape.num_classes)

    @override
    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        maps: Tensor = self.stem(x)
        return maps

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
        told, maps = F.relu(told), features
        for layer in self.layers:
            maps = layer(maps, told)
        logits: Tensor = self.head(self.drop(maps.mean(dim=(2, 3)), generator))
        return logits
