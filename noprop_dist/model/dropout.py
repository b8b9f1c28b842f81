"""Dropout whose mask comes from a generator the caller owns."""

import torch
from torch import Tensor, nn

_LEVELS = 256  # a byte per element decides


class KeyedDropout(nn.Module):
    """Zeroes elements with probability ``round(256 p) / 256`` and scales the rest to keep the mean.

    One random byte per element is several times cheaper on a CPU than a Bernoulli draw per element,
    which at the sizes of the paper's block costs as much as a convolution.

    Args:
        p: wanted probability of a zero, in [0, 1); 0.2 becomes 51/256 = 0.199.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = min(round(p * _LEVELS), _LEVELS - 1)
        self.scale = _LEVELS / (_LEVELS - self.threshold)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Drop in training mode; the identity in evaluation mode.

        Args:
            x: any shape; what is neither contiguous nor channels-last is copied first.
            generator: on x's device.

        Raises:
            TypeError: in training mode without a generator, as in ``nn.Sequential``.
        """
        if not self.training or self.threshold == 0:
            return x
        if generator is None:
            raise TypeError(
                "KeyedDropout needs the block's generator while it trains: call it with one, "
                "drop(x, generator), which nn.Sequential does not."
            )
        dense = x.is_contiguous() or (
            x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        )
        x = x if dense else x.contiguous()
        num_words = -(-x.numel() // 8)
        words = torch.empty(num_words, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=generator)
        keep = words.view(torch.uint8)[: x.numel()] >= self.threshold
        # Same strides as x: the product then runs over memory in one pass, in any layout.
        scaled = keep.to(x.dtype).mul_(self.scale).as_strided(x.shape, x.stride())
        return x * scaled
