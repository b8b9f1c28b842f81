"""Algorithm 1 as printed, in plain PyTorch on one machine: the page to read first, and the oracle.

Nothing here is fast or distributed. The engine trains the same blocks on the same losses; tests
hold its step against this one. B batch, K classes, D embedding width, T blocks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noprop_dist.maths.loss import denoising_loss, denoising_weight, prior_kl, readout_loss
from noprop_dist.maths.process import denoise_step, expected_embedding, noise_label
from noprop_dist.maths.schedule import Schedule

Batch = tuple[Tensor, Tensor]


@dataclass
class Algorithm1:
    """One network under Algorithm 1.

    Attributes:
        blocks: T modules, each (z (B, D), x) -> logits (B, K); block t is ``blocks[t - 1]``.
        class_embed: W (K, D); trained where it requires a gradient.
        readout: (B, D) -> (B, K) logits.
        schedule: of T blocks.
        eta: weight of the denoising term.
    """

    blocks: Sequence[nn.Module]
    class_embed: Tensor
    readout: nn.Module
    schedule: Schedule
    eta: float

    def loss(self, t: int, x: Tensor, y: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """L_t (eq. 8) of one batch.

        Algorithm 1 samples z_t, but eq. 8 and the algorithm's own loss use z_{t-1}.

        Args:
            t: 1..T.
            x: samples, as the blocks take them.
            y: int64 (B,).
            draw: standard normal noise of its argument's shape; called for z_{t-1}, then for z_T.
        """
        alpha_bar = self.schedule.alpha_bar.tolist()
        u = self.class_embed[y]
        z_prev = noise_label(u, alpha_bar[t - 1], draw(u))
        z_T = noise_label(u, alpha_bar[-1], draw(u))
        u_hat = expected_embedding(self.blocks[t - 1](z_prev, x), self.class_embed)
        weight = denoising_weight(
            num_blocks=self.schedule.num_blocks,
            eta=self.eta,
            snr_gain=float(self.schedule.snr_gain[t]),
        )
        loss = readout_loss(self.readout(z_T), y) + weight * denoising_loss(u_hat, u)
        return loss + prior_kl(u, alpha_bar[0]) if self.class_embed.requires_grad else loss

    def optimizers(self, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
        """One AdamW for each block, and one, the last, for W and the readout."""
        shared = [self.class_embed, *self.readout.parameters()]
        groups: list[list[Tensor]] = [list(b.parameters()) for b in self.blocks]
        groups.append([p for p in shared if p.requires_grad])
        return [torch.optim.AdamW(g, lr=lr, weight_decay=weight_decay) for g in groups]

    def train_epoch(
        self,
        batches: Iterable[Batch],
        optimizers: Sequence[torch.optim.Optimizer],
        lr: Callable[[int], float] | None = None,
    ) -> None:
        """The loops of Algorithm 1: for each t, for each mini-batch, one step on L_t.

        Args:
            batches: of the epoch, the same for every block.
            optimizers: from ``optimizers``.
            lr: the learning rate of the steps on a batch, by its number in the epoch (0-based);
                None leaves it as it is.
        """
        kept = list(batches)
        for t, block in enumerate(self.blocks, start=1):
            block.train()
            for number, (x, y) in enumerate(kept):
                for optimizer in (optimizers[t - 1], optimizers[-1]):
                    optimizer.zero_grad()
                    if lr is not None:
                        for group in optimizer.param_groups:
                            group["lr"] = lr(number)
                self.loss(t, x, y, torch.randn_like).backward()  # type: ignore[no-untyped-call]
                for optimizer in (optimizers[t - 1], optimizers[-1]):
                    optimizer.step()

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Labels int64 (B,) by eq. 3 from z_0 ~ N(0, I); the label is never an input."""
        s = self.schedule
        z = torch.randn(len(x), self.class_embed.shape[1])
        for t, block in enumerate(self.blocks, start=1):
            block.eval()
            u_hat = expected_embedding(block(z, x), self.class_embed)
            a, b, c = (float(table[t]) for table in (s.a, s.b, s.c))
            z = denoise_step(z, u_hat, torch.randn_like(z), a=a, b=b, c=c)
        labels: Tensor = self.readout(z).argmax(dim=1)
        return labels
