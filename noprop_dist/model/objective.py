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
from typing_extensions import override

from noprop_dist.maths.loss import denoising_loss, denoising_weight, prior_kl, readout_loss
from noprop_dist.maths.process import (
    denoise_step,
    embed_label,
    expected_embedding,
    noise_label,
)
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
        num_draws: how many noises of shape (B, D) one pass of inference takes, z_0's among them.
    """

    tells_level: ClassVar[bool] = False
    num_draws: int = 1

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

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

    def begin(self, noise: Tensor) -> Tensor:
        """z_0 of inference from standard normal noise (B, D)."""
        return noise

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
            z_t (B, D), and the logits (B, K) of the block's last answer.
        """


class DiscreteTime(Objective):
    """NoProp-DT: one noise level a block, of which it is not told; eq. 8 and eq. 3."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.num_draws = spec.num_blocks + 1
        schedule = spec.make_schedule()
        self.alpha_bar = schedule.alpha_bar.tolist()
        self.snr_gain = schedule.snr_gain.tolist()
        self.a, self.b, self.c = (table.tolist() for table in (schedule.a, schedule.b, schedule.c))

    @override
    def weight(self, t: int, eta: float) -> float:
        return denoising_weight(num_blocks=self.spec.num_blocks, eta=eta, snr_gain=self.snr_gain[t])

    @override
    def noised(
        self, t: int, u: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        noise = torch.randn(u.shape, generator=generator, device=u.device)
        return noise_label(u, self.alpha_bar[t - 1], noise), None

    @override
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
        u = embed_label(y, class_embed)
        noise, noise_T = torch.randn(2, *u.shape, generator=generator, device=u.device)  # noqa: N806
        logits = ask(noise_label(u, self.alpha_bar[t - 1], noise), None)
        u_hat = expected_embedding(logits, class_embed)
        own = self.weight(t, eta) * denoising_loss(u_hat, u, weight)
        loss = readout_loss(read(noise_label(u, self.alpha_bar[-1], noise_T)), y, weight)
        if class_embed.requires_grad:
            loss = loss + prior_kl(u, self.alpha_bar[0], weight)
        return Learned(own + loss, logits)

    @override
    def step(
        self, t: int, z: Tensor, class_embed: Tensor, ask: Ask, draw: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        logits = ask(z, None)
        u_hat = expected_embedding(logits, class_embed)
        z_t = denoise_step(z, u_hat, draw(), a=self.a[t], b=self.b[t], c=self.c[t])
        return z_t, logits
