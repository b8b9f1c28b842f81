"""T classifiers that learn nothing of z: what an ensemble of the same blocks is worth.

B batch, K classes, D embedding width, T blocks.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from noprop_dist.maths.loss import denoising_loss, readout_loss
from noprop_dist.maths.process import embed_label, expected_embedding
from noprop_dist.model.objective import Ask, Learned, Objective, Read
from noprop_dist.model.spec import ModelSpec


class WithoutZ(Objective):
    """Block t's z is noise alone, in training and inference; z_t is the mean of u_hat_1..u_hat_t.

    Noise and not zeros: batch norm of a constant divides by nothing.
    """

    usual_loss: ClassVar[str] = "ce"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.num_draws = spec.num_blocks + 1

    @override
    def weight(self, t: int, eta: float) -> float:
        return eta

    @override
    def noised(
        self, t: int, u: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        return torch.randn(u.shape, generator=generator, device=u.device), None

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
        logits = ask(*self.noised(t, u, generator))
        if self.loss_is_squared:
            own = denoising_loss(expected_embedding(logits, class_embed), u, weight)
        else:
            own = readout_loss(logits, y, weight)
        return Learned(eta * own + readout_loss(read(u), y, weight), logits)

    @override
    def step(
        self, t: int, z: Tensor, class_embed: Tensor, ask: Ask, draw: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        logits = ask(draw(), None)
        return z + (expected_embedding(logits, class_embed) - z) / t, logits
