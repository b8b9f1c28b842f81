"""The assembled network as one module that takes raw samples and whole-number seeds.

N samples, K classes, D embedding width, T blocks.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from noprop_dist.data.normalise import Normalisation, normalise
from noprop_dist.maths.counter import seeded_normals
from noprop_dist.model.network import NoPropNetwork

OUTPUTS = ("z_T", "mean_softmax")
NOISE_NUMBERS = 2**18  # made at a time: their int64 words stay in a core's cache


class PortableNetwork(nn.Module):
    """Raw samples and seeds in, probabilities out; with all noise made inside (``counter``).

    Args:
        network: the assembled blocks, in evaluation mode.
        normalisation: of the training split.
        draws: noise draws, over which probabilities are averaged; at least 1.
    """

    def __init__(self, network: NoPropNetwork, normalisation: Normalisation, draws: int) -> None:
        super().__init__()
        self.network, self.normalisation, self.draws = network, normalisation, draws

    def forward(self, samples: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities of every sample, a function of it and its seed alone.

        Args:
            samples: uint8 (N, C, H, W), or float32 (N, F) vectors.
            seed: int64 (N,), at least 0: equal seeds draw equal noise.

        Returns:
            float32 (N, K) of the readout of z_T, and float32 (N, K), the mean of the T blocks'
            softmaxes; both averaged over the draws.
        """
        x = normalise(samples, self.normalisation)
        draws = [self._noise(seed, draw) for draw in range(self.draws)]
        traces = self.network.follow(x, draws)
        z_T = torch.stack([t.z_T_logits.softmax(1) for t in traces]).mean(dim=0)  # noqa: N806
        return z_T, torch.stack([t.mean_softmax for t in traces]).mean(dim=0)

    def _noise(self, seed: Tensor, draw: int) -> Iterator[Tensor]:
        spec = self.network.spec
        steps = spec.num_blocks + 1
        normals = seeded_normals(seed, draw, steps * spec.embed_dim)
        return iter(normals.view(-1, steps, spec.embed_dim).unbind(dim=1))
