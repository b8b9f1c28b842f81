"""NoProp-CT (sec. 2.2.2), its time cut into T intervals; one block is the paper's."""

from torch import Tensor
from typing_extensions import override

from noprop_dist.maths.loss import prior_kl
from noprop_dist.maths.schedule import ALPHA_BARS, snr_rate
from noprop_dist.model.intervals import Intervals
from noprop_dist.model.objective import Read
from noprop_dist.model.spec import ModelSpec


class ContinuousTime(Intervals):
    """z = sqrt(alpha_bar) u + sqrt(1 - alpha_bar) noise at any time.

    Deviation: the schedule is fixed, and a block's own loss is by default the cross-entropy of its
    logits; eta / 2 SNR'(time) ||u_hat - u||^2 puts nearly all weight where z gives the label away.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.schedule = ALPHA_BARS[spec.schedule]
        super().__init__(spec)

    def alpha_bar(self, time: Tensor) -> Tensor:
        """The share of label at these times."""
        return self.schedule(time, self.spec.alpha_bar_min, self.spec.alpha_bar_max)

    @override
    def marginal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        share = self.alpha_bar(time)
        return share.sqrt(), (1 - share).sqrt()

    @override
    def error_weight(self, time: Tensor) -> Tensor:
        return snr_rate(self.alpha_bar, time) / 2

    @override
    def shared_loss(
        self,
        y: Tensor,
        u: Tensor,
        u_hat: Tensor,
        noise: Tensor,
        read: Read,
        weight: Tensor | None,
    ) -> Tensor:
        loss = super().shared_loss(y, u, u_hat, noise, read, weight)
        return loss + prior_kl(u, self.spec.alpha_bar_min, weight) if u.requires_grad else loss
