"""Fig. 6 and its kin: an image path and a label path, and layers that put them together.

B batch, K classes, D embedding width.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from noprop_dist.model.block import Block, BlockShape, Takes
from noprop_dist.model.paths import (
    LARGE,
    WIDTH,
    ConvPath,
    LabelPath,
    LevelPath,
    ResNetPath,
    VectorPath,
)


class TwoPathBlock(Block):
    """Fig. 6: paths of image, label and, where told, noise level, concatenated, to K logits."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)
        self.image_path = self.path(shape.sample, shape.dropout)
        self.label_path = (
            self.path(shape.sample, shape.dropout)
            if shape.label_is_sample
            else LabelPath(shape.embed_dim)
        )
        self.level_path = LevelPath() if shape.told_level else None
        self.head = nn.Sequential(
            nn.Linear((2 + shape.told_level) * WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH // 2),
            nn.BatchNorm1d(WIDTH // 2),
            nn.ReLU(),
            nn.Linear(WIDTH // 2, shape.num_classes),
        )

    @staticmethod
    @abstractmethod
    def path(shape: tuple[int, ...], dropout: float) -> nn.Module:
        """From a sample of such a shape to (B, 256)."""

    @override
    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        features: Tensor = self.image_path(x, generator)
        return features

    @override
    def classify(
        self,
        z: Tensor,
        features: Tensor,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        if self.shape.label_is_sample and len(self.shape.sample) == 3:
            z = z.view(-1, *self.shape.sample).contiguous(memory_format=torch.channels_last)
        paths = [features, self.label_path(z, generator)]
        if self.level_path is not None and level is not None:
            paths.append(self.level_path(level))
        logits: Tensor = self.head(torch.cat(paths, dim=1))
        return logits


class ConvBlock(TwoPathBlock):
    """Fig. 6 as printed."""

    takes = Takes("images", least=4, default_up_to=LARGE, level=True)

    @override
    @staticmethod
    def path(shape: tuple[int, ...], dropout: float) -> nn.Module:
        return ConvPath(shape, dropout)


class PooledConvBlock(TwoPathBlock):
    """Fig. 6 for large images."""

    takes = Takes("images", least=4, level=True)
    note = f"for images of more than {LARGE} pixels"

    @override
    @staticmethod
    def path(shape: tuple[int, ...], dropout: float) -> nn.Module:
        return ConvPath(shape, dropout, pooled=True)


class VectorBlock(TwoPathBlock):
    """Fig. 6 on features made elsewhere."""

    takes = Takes("vectors", level=True)

    @override
    @staticmethod
    def path(shape: tuple[int, ...], dropout: float) -> nn.Module:
        return VectorPath(shape[0], dropout)


class ResNetBlock(TwoPathBlock):
    """ResNet-18 in the place of the image path; it draws nothing."""

    takes = Takes("images", least=4, level=True)

    @override
    @staticmethod
    def path(shape: tuple[int, ...], dropout: float) -> nn.Module:
        return ResNetPath(shape)
