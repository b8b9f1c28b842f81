"""NoProp-DT (sec. 2.2, eq. 8 and eq. 3).

B batch, K classes, D embedding width, T blocks.
"""

from collections.abc import Callable
from typing import ClassVar

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
from noprop_dist.model.objective import Ask, Learned, Objective, Read
from noprop_dist.model.spec import ModelSpec


class DiscreteTime(Objective):
    """NoProp-DT: one noise level a block, of which it is not told; eq. 8 and eq. 3."""

    has_noise_free_steps: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.num_draws = spec.num_blocks + 1
        schedule = spec.make_schedule()
        self.alpha_bar = schedule.alpha_bar.tolist()
        self.snr_gain = schedule.snr_gain.tolist()
        self.a, self.b, self.c = (table.tolist() for table in (schedule.a, schedule.b, schedule.c))

    @override
    def weight(self, t: int, eta: float) -> float:
        if not self.loss_is_squared:
            return eta
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
        # W must not learn to give itself away, where no distance to u holds it back.
        seen = u if self.loss_is_squared else u.detach()
        logits = ask(noise_label(seen, self.alpha_bar[t - 1], noise), None)
        if self.loss_is_squared:
            own = denoising_loss(expected_embedding(logits, class_embed), u, weight)
        else:
            own = readout_loss(logits, y, weight)
        own = self.weight(t, eta) * own
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
