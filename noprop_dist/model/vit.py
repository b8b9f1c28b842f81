"""Vision transformers as blocks: patches of the image and one token that carries z.

B batch, K classes, D embedding width, N patches, E width of a token.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block, BlockShape, Takes
from noprop_dist.model.dropout import KeyedDropout
from noprop_dist.model.level import LevelEmbedding, ZeroLinear

MOST_PATCHES = 8  # along the longer side, as far as patches of LARGEST_PATCH pixels allow it
LARGEST_PATCH = 16


def patch_size(sample: tuple[int, ...]) -> int:
    """Pixels of a patch's side where none is asked for: 2 for images of 16, 4 for 32, ..."""
    patch = 2
    while max(sample[1:]) > MOST_PATCHES * patch and patch < LARGEST_PATCH:
        patch *= 2
    return patch


class Patches(nn.Module):
    """(B, C, H, W) -> (B, N, E): convolutions of stride 2, as early ones make it learn sooner.

    Deviation from ViT, which cuts patches in one step; after Xiao et al. (2021).

    Args:
        sample: (C, H, W).
        patch: pixels of a patch's side, a power of two.
        width: E.
    """

    def __init__(self, sample: tuple[int, ...], patch: int, width: int) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        channels, halvings = sample[0], patch.bit_length() - 1
        for left in reversed(range(halvings)):
            self.convs.append(
                nn.Conv2d(channels, width >> left, 3, stride=2, padding=1, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(width >> left))
            channels = width >> left
        self.project = nn.Conv2d(width, width, 1)
        self.places = Places(math.prod(-(-side // patch) for side in sample[1:]), width)

    def forward(self, x: Tensor) -> Tensor:
        """Patches in their places."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        # Channels last in memory: nothing is copied.
        tokens: Tensor = self.project(x).permute(0, 2, 3, 1).flatten(1, 2)
        placed: Tensor = self.places(tokens)
        return placed


class Places(nn.Module):
    """Adds to each of N tokens what is learned of its place."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.empty(count, width))

    def init_values(self, generator: torch.Generator) -> None:
        """As in ViT."""
        nn.init.normal_(self.place, std=0.02, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        return tokens + self.place


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift follow what is told of the noise level, if anything is."""

    def __init__(self, width: int, *, told: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulate = ZeroLinear(width, 2 * width) if told else None

    def forward(self, tokens: Tensor, level: Tensor | None) -> Tensor:
        """(B, N, E) of tokens and (B, E) of the level -> (B, N, E)."""
        h: Tensor = self.norm(tokens)
        if self.modulate is None:
            return h
        scale, shift = self.modulate(level)[:, None].chunk(2, dim=2)
        modulated: Tensor = h * (1 + scale) + shift
        return modulated


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what it is given."""

    def __init__(self, width: int, heads: int, dropout: float, *, told: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (AdaptiveNorm(width, told=told) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = KeyedDropout(dropout)

    def forward(
        self, tokens: Tensor, level: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """(B, N, E) -> (B, N, E)."""
        attended = self.out(self._attend(self.norm1(tokens, level)))
        tokens = tokens + self.drop(attended, generator)
        h = self.narrow(F.gelu(self.widen(self.norm2(tokens, level))))
        out: Tensor = tokens + self.drop(h, generator)
        return out

    def _attend(self, h: Tensor) -> Tensor:
        # In plain operations: PyTorch's fused attention is not the same bits twice on a GPU.
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(dim=-1)
        attended: Tensor = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        return attended


class ViTBlock(Block):
    """ViT tiny: a block of T, whole or cut from a deeper one (``--split-depth``).

    Args:
        shape: what it is built for.
        patch: pixels of a patch's side, a power of two; None: from the image's size.
        depth: layers.
        width: E, of every token.
        heads: of attention; must divide the width.
    """

    takes = Takes("images", least=4, level=True)

    def __init__(
        self,
        shape: BlockShape,
        *,
        patch: int | None = None,
        depth: int = 3,
        width: int = 96,
        heads: int = 3,
    ) -> None:
        super().__init__(shape)
        patch = patch or patch_size(shape.sample)
        if (
            patch < 2
            or patch & (patch - 1)
            or depth < 1
            or heads < 1
            or width % patch
            or width % heads
        ):
            raise UserError(
                f"a ViT of patch={patch}, depth={depth}, width={width}, heads={heads} cannot be: "
                "patch must be a power of two, and width a multiple of patch and of heads."
            )
        told, self.patches = shape.told_level, Patches(shape.sample, patch, width)
        self.label = nn.Sequential(
            nn.Linear(shape.embed_dim, width), nn.GELU(), nn.Linear(width, width)
        )
        self.level = LevelEmbedding(width) if told else None
        self.layers = nn.ModuleList(
            Layer(width, heads, shape.dropout, told=told) for _ in range(depth)
        )
        self.norm = AdaptiveNorm(width, told=told)
        self.head = nn.Linear(width, shape.num_classes)

    @override
    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        patches: Tensor = self.patches(x)
        return patches

    @override
    def classify(
        self,
        z: Tensor,
        features: Any,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        told = None if self.level is None or level is None else self.level(level)
        tokens = torch.cat([self.label(z)[:, None], features], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, told, generator)
        logits: Tensor = self.head(self.norm(tokens[:, :1], told)[:, 0])
        return logits


class SmallViTBlock(ViTBlock):
    """ViT small: twice as deep and wide as tiny; arguments as of ``ViTBlock``."""

    def __init__(
        self,
        shape: BlockShape,
        *,
        patch: int | None = None,
        depth: int = 6,
        width: int = 192,
        heads: int = 6,
    ) -> None:
        super().__init__(shape, patch=patch, depth=depth, width=width, heads=heads)
