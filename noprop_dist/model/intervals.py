"""What objectives have in common whose blocks each learn an interval of noise levels.

z = m(time) u + s(time) noise, where time runs from 0, noise, to 1, the label, and is cut into T
intervals, a block each. A block is told the level. Inference follows the ODE of these marginals.

B batch, K classes, D embedding width, T blocks, n steps a block.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from noprop_dist.maths.loss import denoising_loss, readout_loss
from noprop_dist.maths.process import embed_label, expected_embedding, flow_step
from noprop_dist.model.objective import Ask, Learned, Objective, Read
from noprop_dist.model.spec import ModelSpec


class Intervals(Objective):
    """An objective of T intervals of time; a subclass says what the levels are at a time."""

    tells_level: ClassVar[bool] = True
    usual_loss: ClassVar[str] = "ce"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        # The times of inference are known: as plain numbers they cost a step nothing.
        steps = spec.num_blocks * spec.steps_per_block
        grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        m, s = self.marginal(grid)
        self.levels: list[tuple[float, float]] = list(zip(m.tolist(), s.tolist(), strict=True))
        self.told_levels: list[float] = self.told(grid).tolist()
        self.reaches = [self.reach(t) for t in range(1, spec.num_blocks + 1)]
        times = [torch.linspace(*reach, 1001) for reach in self.reaches]
        self.mean_weights = [float(self.error_weight(time).mean()) for time in times]

    @abstractmethod
    def marginal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """The m and s of z = m u + s noise at these times, floats of their shape."""

    @abstractmethod
    def error_weight(self, time: Tensor) -> Tensor:
        """The weight of ||u_hat - u||^2 at these times, of their shape, before eta."""

    def told(self, time: Tensor) -> Tensor:
        """What the block is told of the level at these times, of their shape."""
        return time

    def seen(self, z: Tensor) -> Tensor:
        """What the block sees of z (B, D)."""
        return z

    def reach(self, t: int) -> tuple[float, float]:
        """The times between which block t trains: its interval and what it overlaps."""
        share = self.spec.overlap
        first, last = ((t - 1 - share) / self.spec.num_blocks, (t + share) / self.spec.num_blocks)
        return max(first, 0.0), min(last, 1.0)

    @override
    def weight(self, t: int, eta: float) -> float:
        return eta * (self.mean_weights[t - 1] if self.loss_is_squared else 1.0)

    def _noised(
        self, t: int, u: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """For each sample z (B, D) at a time of block t's, and these times (B,)."""
        noise = torch.randn(u.shape, generator=generator, device=u.device)
        share = torch.rand(len(u), generator=generator, device=u.device)
        first, last = self.reaches[t - 1]
        time = first + (last - first) * share
        m, s = self.marginal(time)
        return m[:, None] * u + s[:, None] * noise, time

    @override
    def noised(
        self, t: int, u: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        z, time = self._noised(t, self.embedding(u), generator)
        return self.seen(z), self.told(time)

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
        embedding = self.embedding(class_embed)
        u = embed_label(y, embedding)
        last_noise = torch.randn(u.shape, generator=generator, device=u.device)
        # W must not learn to give itself away, where no distance to u holds it back.
        z, time = self._noised(t, u if self.loss_is_squared else u.detach(), generator)
        logits = ask(self.seen(z), self.told(time))
        u_hat = expected_embedding(logits, embedding)
        if self.loss_is_squared:
            errors = self.error_weight(time)
            own = denoising_loss(u_hat, u, errors if weight is None else errors * weight)
        else:
            own = readout_loss(logits, y, weight)
        return Learned(eta * own + self.shared_loss(y, u, u_hat, last_noise, read, weight), logits)

    def shared_loss(
        self,
        y: Tensor,
        u: Tensor,
        u_hat: Tensor,
        noise: Tensor,
        read: Read,
        weight: Tensor | None,
    ) -> Tensor:
        """The terms that train the readout and W: by default the readout's at time 1.

        Args:
            y: labels (B,), or shares of the classes (B, K).
            u: (B, D).
            u_hat: what the block expects (B, D).
            noise: standard normal (B, D).
            read: the readout.
            weight: of the samples (B,), or None.
        """
        m, s = self.levels[-1]
        return readout_loss(read(m * u + s * noise), y, weight)

    @override
    def begin(self, noise: Tensor) -> Tensor:
        m, s = self.levels[0]
        return noise * math.hypot(m, s)

    @override
    def entering(self, t: int, u: Tensor, generator: torch.Generator | None) -> Tensor:
        """At the noise level of the interval's start, of which inference asks first."""
        m, s = self.levels[(t - 1) * self.spec.steps_per_block]
        return m * self.embedding(u) + s * torch.randn(
            u.shape, generator=generator, device=u.device
        )

    @override
    def step(
        self, t: int, z: Tensor, class_embed: Tensor, ask: Ask, draw: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """``Objective.step``: n steps of the ODE; the block's answer is the mean of n softmaxes."""
        embedding = self.embedding(class_embed)
        steps = self.spec.steps_per_block

        def answer(at: int, z: Tensor) -> Tensor:
            return ask(self.seen(z), z.new_full(z.shape[:1], self.told_levels[at]))

        said = []
        for at in range((t - 1) * steps, t * steps):
            here, there = self.levels[at], self.levels[at + 1]
            said.append(answer(at, z))
            u_hat = expected_embedding(said[-1], embedding)
            reached = flow_step(z, u_hat, here, there)
            # Where no noise is left there is nothing to correct.
            if self.spec.solver == "heun" and there[1] > 0:
                again = expected_embedding(answer(at + 1, reached), embedding)
                reached = flow_step(z, (u_hat + again) / 2, here, there)
            z = reached
        if steps == 1:
            return z, said[0]
        return z, torch.stack(said).log_softmax(dim=2).logsumexp(dim=0)
