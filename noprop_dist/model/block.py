"""One NoProp block, (z_{t-1}, x) -> logits over the classes: what all blocks have in common.

A block is a class, and a new one is a row of ``registry.BLOCKS``.

B batch, K classes, D embedding width, C H W image axes, F features of a vector sample.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Takes:
    """What samples a block takes.

    Attributes:
        kind: images (C, H, W) or vectors (F,).
        least: pixels of an image's shorter side, at least.
        default_up_to: it is chosen where no block is asked for, up to this longer side.
        level: it can be told how much noise z holds, as some objectives do.
    """

    kind: Literal["images", "vectors"]
    least: int = 1
    default_up_to: float = float("inf")
    level: bool = False


@dataclass(frozen=True)
class BlockShape:
    """What a block is built for.

    Attributes:
        sample: (C, H, W) or (F,).
        num_classes: K.
        embed_dim: D.
        label_is_sample: z has the sample's shape, D its size (prototype embeddings).
        dropout: probability, while training.
        told_level: ``classify`` gets a noise level.
        t: which block it is, 1..T.
        num_blocks: T.
    """

    sample: tuple[int, ...]
    num_classes: int
    embed_dim: int
    label_is_sample: bool
    dropout: float
    told_level: bool = False
    t: int = 1
    num_blocks: int = 1


class Block(nn.Module, ABC):
    """What every block is: build it from a ``BlockShape``; ``classify`` is all it must do.

    Its constructor runs on the meta device and gives no values: ``init_block`` does. Whatever it
    draws while training it draws from the generator that it is given.

    Attributes:
        takes: what samples it takes.
        note: said where it is chosen for want of a wish.
    """

    takes: ClassVar[Takes] = Takes("images")
    note: ClassVar[str] = ""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.shape = shape

    def features(self, x: Tensor, generator: torch.Generator | None = None) -> Any:
        """What is made of the normalised sample x alone: at inference it serves every noise draw.

        Args:
            x: float32 (B, C, H, W) in channels-last memory, or (B, F).
            generator: of what is drawn in training mode, on the tensors' device.
        """
        return x

    @abstractmethod
    def classify(
        self,
        z: Tensor,
        features: Any,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, K) from z_{t-1}.

        Args:
            z: float32 (B, D).
            features: of the samples, from ``features``.
            generator: of what is drawn in training mode, on the tensors' device.
            level: what the objective tells of the noise in z, float32 (B,); None where
                ``shape.told_level`` is not set, as in NoProp-DT.
        """

    def forward(
        self,
        z: Tensor,
        x: Tensor,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, K) from z_{t-1} and the sample; arguments as of the two parts."""
        return self.classify(z, self.features(x, generator), generator, level)
