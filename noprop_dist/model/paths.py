"""The paths of a block: of the sample, of the noised label (Fig. 6) and of a noise level.

B batch, D embedding width, C H W image axes, F features of a vector sample.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from noprop_dist.model.dropout import KeyedDropout

WIDTH = 256  # features of either path and of the first fused layer
FREQUENCIES = 16  # in which a noise level is told, half an octave apart
LARGE = 64  # pixels of a side above which images are halved first


class ConvPath(nn.Module):
    """The image path of Fig. 6: three 3x3 convolutions, then linear 256 and batch norm.

    Args:
        shape: (C, H, W) of the input; H and W at least 4.
        dropout: probability.
        pooled: for images of any size, its linear layer no wider than for one of 32 pixels:
            convolutions of stride 2 halve the image until no side is above LARGE, and what comes
            to the linear layer is averaged to at most 8x8.
    """

    def __init__(self, shape: tuple[int, ...], dropout: float, *, pooled: bool = False) -> None:
        super().__init__()
        channels, height, width = shape
        self.halvings = nn.ModuleList()
        while pooled and max(height, width) > LARGE:
            self.halvings.append(nn.Conv2d(channels, 32, 3, stride=2, padding=1))
            channels, height, width = 32, -(-height // 2), -(-width // 2)
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.drop = KeyedDropout(dropout)
        height, width = height // 4, width // 4
        self.pool = (-(-height // 8), -(-width // 8)) if pooled else (1, 1)
        self.linear = nn.Linear(128 * (height // self.pool[0]) * (width // self.pool[1]), WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float -> (B, 256)."""
        for halving in self.halvings:
            x = F.relu_(halving(x))
        # relu(maxpool(v)) = maxpool(relu(v)), also in the gradient, on a quarter of the elements.
        h = self.drop(F.relu_(F.max_pool2d(self.conv1(x), 2)), generator)
        h = self.drop(F.relu_(self.conv2(h)), generator)
        h = self.drop(F.relu_(F.max_pool2d(self.conv3(h), 2)), generator)
        if self.pool != (1, 1):
            h = F.avg_pool2d(h, self.pool)
        # Channels last in memory: flattening in that order copies nothing.
        out: Tensor = self.norm(self.linear(h.permute(0, 2, 3, 1).flatten(1)))
        return out


class VectorPath(nn.Module):
    """Features made elsewhere: linear 256 - batch norm - ReLU - dropout - linear 256 - batch norm.

    Args:
        num_features: F.
        dropout: probability.
    """

    def __init__(self, num_features: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(num_features, WIDTH)
        self.norm1 = nn.BatchNorm1d(WIDTH)
        self.drop = KeyedDropout(dropout)
        self.linear2 = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, F) float -> (B, 256)."""
        h = self.drop(F.relu_(self.norm1(self.linear1(x))), generator)
        out: Tensor = self.norm2(self.linear2(h))
        return out


class ResNetPath(nn.Module):
    """torchvision's ResNet-18 up to 256 features and batch norm.

    Small images (H, W up to LARGE) get the usual stem for them: one 3x3 convolution of stride 1 and
    no max-pool.

    Args:
        shape: (C, H, W) of the input.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        from torchvision.models import resnet18  # a second of import, for this path alone

        channels, height, width = shape
        small = max(height, width) <= LARGE
        self.net = resnet18(weights=None, num_classes=WIDTH)
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.net.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
        if small:
            self.net.maxpool = nn.Identity()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float -> (B, 256); draws nothing."""
        out: Tensor = self.norm(self.net(x))
        return out


class LabelPath(nn.Module):
    """The label path of Fig. 6: linear 256 - batch norm - ReLU, then a skip around two more.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(dim, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
        self.skipped = nn.Sequential(
            nn.Linear(WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
        )

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, D) float -> (B, 256); draws nothing."""
        h: Tensor = self.enter(z)
        out: Tensor = h + self.skipped(h)
        return out


class LevelPath(nn.Module):
    """The path of time: sines and cosines of the level, linear 256 - ReLU - linear 256."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * FREQUENCIES, WIDTH)
        self.leave = nn.Linear(WIDTH, WIDTH)

    def forward(self, level: Tensor) -> Tensor:
        """(B,) float -> (B, 256); draws nothing."""
        octaves = torch.arange(FREQUENCIES, device=level.device, dtype=level.dtype)
        angles = level[:, None] * torch.exp2(octaves / 2)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        out: Tensor = self.leave(F.relu_(self.enter(waves)))
        return out
