"""The assembled network: T trained blocks, class embeddings and a readout; inference by eq. 3.

B batch, K classes, D embedding width, T blocks. The label is never an input of anything here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noprop_dist.maths.process import denoise_step
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.spec import ModelSpec


@dataclass(frozen=True)
class Trace:
    """What one pass through the blocks leaves behind; all float32 on the samples' device.

    Attributes:
        z: (T + 1, B, D); ``z[t]`` is the paper's z_t.
        block_logits: (T, B, K); entry t - 1 is block t's.
        readout_logits: (T, B, K); the readout of z_t, entry t - 1.
    """

    z: Tensor
    block_logits: Tensor
    readout_logits: Tensor

    @property
    def z_T_logits(self) -> Tensor:  # noqa: N802
        """(B, K) logits of the paper's prediction, the readout of z_T."""
        return self.readout_logits[-1]

    @property
    def mean_softmax(self) -> Tensor:
        """(B, K) mean of the T blocks' softmaxes (ours: every block is a classifier of its own)."""
        return self.block_logits.softmax(dim=2).mean(dim=0)


class NoPropNetwork(nn.Module):
    """T blocks in the order of t, with the shared class embeddings and readout.

    Args:
        spec: what the network is made of; parameters start without values on the meta device.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        schedule = spec.make_schedule()
        self.a, self.b, self.c = schedule.a.tolist(), schedule.b.tolist(), schedule.c.tolist()
        self.blocks = nn.ModuleList(spec.make_block() for _ in range(spec.num_blocks))
        with torch.device("meta"):
            self.class_embed = nn.Parameter(torch.empty(spec.num_classes, spec.embed_dim))
            self.readout_weight = nn.Parameter(torch.empty(spec.num_classes, spec.embed_dim))
            self.readout_bias = nn.Parameter(torch.empty(spec.num_classes))

    @classmethod
    def assemble(
        cls,
        spec: ModelSpec,
        blocks: Mapping[int, Mapping[str, Tensor]],
        shared: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
    ) -> "NoPropNetwork":
        """Put trained parts together, in evaluation mode on ``device``.

        Args:
            spec: what the network is made of.
            blocks: by t = 1..T, block t's state dict.
            shared: ``class_embed`` (K, D), ``readout_weight`` (K, D), ``readout_bias`` (K,).
            device: where to put it.
        """
        network = cls(spec).to_empty(device=device)
        for t in range(1, spec.num_blocks + 1):
            network.block(t).load_state_dict(dict(blocks[t]))
        with torch.no_grad():
            for name in ("class_embed", "readout_weight", "readout_bias"):
                getattr(network, name).copy_(shared[name])
        network.requires_grad_(False).eval()
        return network.to(memory_format=torch.channels_last)

    def block(self, t: int) -> nn.Module:
        """Block t, t = 1..T: the one place that turns the paper's t into a list position."""
        if not 1 <= t <= self.spec.num_blocks:
            raise IndexError(f"t runs from 1 to {self.spec.num_blocks}, got {t}")
        return self.blocks[t - 1]

    @torch.inference_mode()
    def trace(self, x: Tensor, generator: torch.Generator) -> Trace:
        """Run eq. 3 from z_0 ~ N(0, I) to z_T and keep what each block says.

        Args:
            x: normalised samples, float32 (B, C, H, W) in channels-last memory or (B, F).
            generator: on x's device; draws z_0 and each step's noise.
        """

        def normal() -> Tensor:
            return torch.randn(len(x), self.spec.embed_dim, generator=generator, device=x.device)

        z = [normal()]
        block_logits, readouts = [], []
        for t in range(1, self.spec.num_blocks + 1):
            logits = self.block(t)(z[-1], x).float()
            u_hat = torch.softmax(logits, dim=1) @ self.class_embed
            z.append(denoise_step(z[-1], u_hat, normal(), a=self.a[t], b=self.b[t], c=self.c[t]))
            block_logits.append(logits)
            readouts.append(self.read(z[-1]))
        return Trace(torch.stack(z), torch.stack(block_logits), torch.stack(readouts))

    def read(self, z: Tensor) -> Tensor:
        """Readout logits (B, K) of any z_t (B, D)."""
        return readout_logits(
            z,
            self.readout_weight,
            self.readout_bias,
            self.class_embed,
            kind=self.spec.readout,
        )
