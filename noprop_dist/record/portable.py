"""The assembled network as one module that takes raw samples and whole-number seeds.

N samples, K classes, D embedding width, T blocks.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noprop_dist.data.normalise import Normalisation, normalise
from noprop_dist.data.shards import Array
from noprop_dist.maths.counter import seeded_normals
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.network import NoPropNetwork

OUTPUTS = ("z_T", "mean_softmax")
NOISE_NUMBERS = 2**17  # made at a time: their int64 words stay in a cache


class PortableNetwork(nn.Module):
    """Raw samples and seeds in, probabilities out; with all noise made inside (``counter``).

    Args:
        network: the assembled blocks, in evaluation mode.
        normalisation: of the training split.
        draws: noise draws, over which probabilities are averaged; at least 1.
        backbone: makes what the network takes of pictures.
    """

    def __init__(
        self,
        network: NoPropNetwork,
        normalisation: Normalisation,
        draws: int,
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.network, self.normalisation, self.draws = network, normalisation, draws
        self.backbone = backbone

    def forward(self, samples: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities of every sample, a function of it and its seed alone.

        Args:
            samples: uint8 (N, C, H, W), or float32 (N, F) vectors.
            seed: int64 (N,), at least 0: equal seeds draw equal noise.

        Returns:
            float32 (N, K) of the readout of z_T, and float32 (N, K), the mean of the T blocks'
            softmaxes; both averaged over the draws.
        """
        noise = [self._noise(seed, draw) for draw in range(self.draws)]
        return self.answer(samples, noise)

    def answer(self, samples: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """``forward`` with the noise of each draw, z_0's first: float32 (N, noises, D)."""
        x = samples if self.backbone is None else self.backbone(samples)
        x = normalise(x, self.normalisation)
        traces = self.network.follow(x, [iter(normals.unbind(dim=1)) for normals in noise])
        z_T = torch.stack([t.z_T_logits.softmax(1) for t in traces]).mean(dim=0)  # noqa: N806
        return z_T, torch.stack([t.mean_softmax for t in traces]).mean(dim=0)

    @torch.inference_mode()
    def classify(self, samples: Array, seed: int) -> tuple[Array, Array]:
        """``forward`` in NumPy, each sample seeded by ``seeds_of``.

        Args:
            samples: uint8 (N, C, H, W) or float32 (N, F), N at least 1.
            seed: of the noise.

        Returns:
            Two of float32 (N, K).
        """
        device = self.network.class_embed.device
        seeds = torch.from_numpy(seeds_of(samples, seed)).to(device)
        spec = self.network.spec
        rows = max(1, NOISE_NUMBERS // (self.network.objective.num_draws * spec.embed_dim))
        noise = [
            torch.cat([self._noise(part, draw) for part in torch.split(seeds, rows)])
            for draw in range(self.draws)
        ]
        z_T, mean = self.answer(torch.from_numpy(samples).to(device), noise)  # noqa: N806
        return z_T.cpu().numpy(), mean.cpu().numpy()

    def _noise(self, seed: Tensor, draw: int) -> Tensor:
        steps, width = self.network.objective.num_draws, self.network.spec.embed_dim
        return seeded_normals(seed, draw, steps * width).view(-1, steps, width)


def seeds_of(samples: Array, seed: int) -> npt.NDArray[np.int64]:
    """A seed for every sample, from ``seed`` and the sample itself.

    What is said of a sample then depends on nothing else: not on its place, its neighbours, or how
    many are computed at once. It is the upper 63 bits of BLAKE2b-64, read as a little-endian
    number, of the decimal digits of ``seed``, a colon and the sample's bytes in C order.

    Args:
        samples: (N, ...), of the dtype that the network takes.
        seed: any whole number.

    Returns:
        int64 (N,), at least 0.
    """
    start = hashlib.blake2b(f"{seed}:".encode(), digest_size=8)
    seeds = np.empty(len(samples), np.int64)
    for i, sample in enumerate(samples):
        digest = start.copy()
        digest.update(np.ascontiguousarray(sample).data)
        seeds[i] = int.from_bytes(digest.digest(), "little") >> 1
    return seeds
