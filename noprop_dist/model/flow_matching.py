"""NoProp-FM (sec. 2.2.3), its time cut into T intervals; one block is the paper's."""

from torch import Tensor
from typing_extensions import override

from noprop_dist.maths.loss import readout_loss
from noprop_dist.model.intervals import Intervals
from noprop_dist.model.objective import Read

NEAREST = 0.05  # to the end of time, of the weight of an error: it has no bound else


class FlowMatching(Intervals):
    """z = time u + (1 - time) noise; the velocity is (u_hat - z) / (1 - time).

    The squared error of the velocity is that of u_hat over (1 - time)^2. Deviation: a block's own
    loss is by default the cross-entropy of its logits, and no small noise is added to z.
    """

    @override
    def marginal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        return time, 1 - time

    @override
    def error_weight(self, time: Tensor) -> Tensor:
        return (1 - time).clamp(min=NEAREST).square().reciprocal()

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
        """The readout of u, and where W is learned of u_hat, at which z would arrive (eq. 24)."""
        return readout_loss(read(u_hat if u.requires_grad else u), y, weight)
