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
from noprop_dist.model.answering import MEAN, UNFITTED, Z_T, Answering
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.network import NoPropNetwork

OUTPUTS = ("z_T", "mean_softmax", "answer")  # of ``forward``
NOISE_NUMBERS = 2**17  # made at a time: their int64 words stay in a cache


class PortableNetwork(nn.Module):
    """Raw samples and seeds in, probabilities out; with all noise made inside (``counter``).

    Args:
        network: the assembled blocks, in evaluation mode.
        normalisation: of the training split.
        draws: noise draws, over which probabilities are averaged; at least 1.
        answering: what the network answers by.
        backbone: makes what the network takes of pictures.
    """

    def __init__(
        self,
        network: NoPropNetwork,
        normalisation: Normalisation,
        draws: int,
        answering: Answering = UNFITTED,
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.network, self.normalisation, self.draws = network, normalisation, draws
        self.answering, self.backbone = answering, backbone

    def forward(self, samples: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        """Class probabilities of every sample, a function of it and its seed alone.

        Args:
            samples: uint8 (N, C, H, W), or float32 (N, F) vectors.
            seed: int64 (N,), at least 0: equal seeds draw equal noise.

        Returns:
            OUTPUTS, float32 (N, K) each: of the readout of z_T, of the mean of the T blocks'
            softmaxes, and of what the network answers by; averaged over the draws.
        """
        return self.answer(samples, self._noise(seed).unbind(dim=1), self._outputs)

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (Z_T, MEAN, self.answering.readout)

    def answer(
        self, samples: Tensor, noise: Sequence[Tensor], readouts: Sequence[str]
    ) -> tuple[Tensor, ...]:
        """Some readouts, with the noise of each draw, z_0's first: float32 (N, noises, D)."""
        x = samples if self.backbone is None else self.backbone(samples)
        x = normalise(x, self.normalisation)
        traces = self.network.follow(x, [iter(normals.unbind(dim=1)) for normals in noise])
        by_draw = ([self.answering.probabilities(t, name) for t in traces] for name in readouts)
        return tuple(torch.stack(draws).mean(dim=0) for draws in by_draw)

    @torch.inference_mode()
    def classify(self, samples: Array, seed: int, *readouts: str) -> tuple[Array, ...]:
        """``forward`` in NumPy, each sample seeded by ``seeds_of``.

        Args:
            samples: uint8 (N, C, H, W) or float32 (N, F), N at least 1.
            seed: of the noise.
            readouts: which; none asks for OUTPUTS.

        Returns:
            Of each float32 (N, K).
        """
        device = self.network.class_embed.device
        seeds = torch.from_numpy(seeds_of(samples, seed)).to(device)
        spec = self.network.spec
        numbers = self.draws * self.network.objective.num_draws * spec.embed_dim
        parts = torch.split(seeds, max(1, NOISE_NUMBERS // numbers))
        noise = torch.cat([self._noise(part) for part in parts]).unbind(dim=1)
        said = self.answer(torch.from_numpy(samples).to(device), noise, readouts or self._outputs)
        return tuple(p.cpu().numpy() for p in said)

    def _noise(self, seed: Tensor) -> Tensor:
        """Of all draws at once, which are few operations in a graph: (N, draws, noises, D)."""
        steps, width = self.network.objective.num_draws, self.network.spec.embed_dim
        made = seeded_normals(seed, self.draws, steps * width)
        return made.view(-1, self.draws, steps, width)


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
