"""What a block learns, and how inference follows from it; a new one is a row of ``registry``.

An objective says where a block's noise levels come from, how a label becomes z, what the block is
told of the level, what its loss is, and how inference steps through z. The engine, evaluation and
exported graphs ask it and know no equation.

B batch, K classes, D embedding width, T blocks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from noprop_dist.model.spec import ModelSpec

# What a block makes of z (B, D) and of the noise level that it is told, (B,) or None: (B, K).
Ask = Callable[[Tensor, Tensor | None], Tensor]
Read = Callable[[Tensor], Tensor]  # the readout's logits (B, K) of a z (B, D)


class Learned(NamedTuple):
    """What one training step gives.

    Attributes:
        loss: a scalar.
        logits: (B, K), the block's answer to the samples.
    """

    loss: Tensor
    logits: Tensor


class Objective(ABC):
    """What a block learns, and how inference follows from it.

    Args:
        spec: the network.

    Attributes:
        tells_level: blocks are told how much noise their z holds.
        has_noise_free_steps: steps draw noise, and are steps as well where it is zero.
        num_draws: how many noises of shape (B, D) one pass of inference takes, z_0's among them.
        usual_loss: of a block, where none is asked for.
        loss_is_squared: a block's own term is the squared error of u_hat ("mse"), else the
            cross-entropy of its logits ("ce").
    """

    tells_level: ClassVar[bool] = False
    has_noise_free_steps: ClassVar[bool] = False
    num_draws: int = 1
    usual_loss: ClassVar[str] = "mse"

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        asked = spec.block_loss
        self.loss_is_squared = (self.usual_loss if asked == "auto" else asked) == "mse"

    @abstractmethod
    def weight(self, t: int, eta: float) -> float:
        """The factor of block t's own term in its loss: gradients are clipped relative to it."""

    @abstractmethod
    def noised(
        self, t: int, u: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """What block t sees of a label: z (B, D), and the noise level that it is told.

        Args:
            t: 1..T.
            u: class embeddings of the batch (B, D).
            generator: draws the noise, on u's device.
        """

    @abstractmethod
    def loss(
        self,
        t: int,
        y: Tensor,
        class_embed: Tensor,
        ask: Ask,
        read: Read,
        *,
        eta: float,
        generator: torch.Generator | None,
        weight: Tensor | None = None,
    ) -> Learned:
        """The loss of block t on one batch, with the terms that train the readout and W.

        Args:
            t: 1..T.
            y: int64 (B,), or float32 (B, K) how much each sample is of every class; see
                ``embed_label``.
            class_embed: W (K, D); learned where it requires a gradient.
            ask: the block on the batch's samples.
            read: the readout.
            eta: weight of the block's own term.
            generator: draws all noise, on the samples' device, before the block is asked.
            weight: float32 (B,) of the samples' losses; None counts all alike.
        """

    def embedding(self, class_embed: Tensor) -> Tensor:
        """The W (K, D) that is noised and looked for: where z lies at the end of time."""
        return class_embed

    def begin(self, noise: Tensor) -> Tensor:
        """z_0 of inference from standard normal noise (B, D)."""
        return noise

    def entering(self, t: int, u: Tensor, generator: torch.Generator | None) -> Tensor:
        """What inference would give block t, z_{t-1} (B, D), if the label were known.

        Args:
            t: 1..T.
            u: class embeddings of the batch (B, D).
            generator: draws the noise, on u's device.
        """
        return self.noised(t, u, generator)[0]

    @abstractmethod
    def step(
        self, t: int, z: Tensor, class_embed: Tensor, ask: Ask, draw: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Inference through block t.

        Args:
            t: 1..T.
            z: z_{t-1} (B, D).
            class_embed: W (K, D).
            ask: block t on the samples; may be asked several times.
            draw: the next standard normal noise (B, D).

        Returns:
            z_t (B, D), and the logits (B, K) of the block's answer.
        """
