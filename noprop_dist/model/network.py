"""The assembled network: T trained blocks, class embeddings and a readout; and its inference.

B batch, K classes, D embedding width, T blocks. The label is never an input of anything here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from noprop_dist.model.block import Block
from noprop_dist.model.device import autocast
from noprop_dist.model.init import materialise
from noprop_dist.model.objective import Ask
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.registry import make_block, make_objective
from noprop_dist.model.spec import ModelSpec

INFERENCE_BATCH = 256  # samples that share a key of noise: the same wherever a network is run
GPU_BATCHES = 8  # of these that are computed as one on a GPU, which one does not fill

# Where the noise of a draw comes from: a generator on the samples' device, or float32 (B, D)
# tensors, z_0's first, as many as the objective takes.
Draw = torch.Generator | Iterator[Tensor]


@dataclass(frozen=True)
class Trace:
    """What one pass through the blocks leaves behind; all float32 on the samples' device.

    Attributes:
        z: (T + 1, B, D); ``z[t]`` is the paper's z_t. Empty unless asked for.
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
        precision: "fp32", or "bf16" for the blocks' matrix work.
    """

    def __init__(self, spec: ModelSpec, precision: str = "fp32") -> None:
        super().__init__()
        self.spec, self.precision = spec, precision
        self.objective = make_objective(spec)
        self.blocks = nn.ModuleList(make_block(spec, t) for t in range(1, spec.num_blocks + 1))
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
        precision: str = "fp32",
    ) -> "NoPropNetwork":
        """Put trained parts together, in evaluation mode on ``device``; the parts are copied.

        Args:
            spec: what the network is made of.
            blocks: by t = 1..T, block t's state dict.
            shared: ``class_embed`` (K, D), ``readout_weight`` (K, D), ``readout_bias`` (K,).
            device: where to put it.
            precision: "fp32", or "bf16" for the blocks' matrix work.
        """
        return cls.from_tensors(spec, named_tensors(blocks, shared), device, precision)

    @classmethod
    def from_tensors(
        cls,
        spec: ModelSpec,
        tensors: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> "NoPropNetwork":
        """``assemble`` from a whole state dict, as ``named_tensors`` names it.

        Raises:
            RuntimeError: a tensor is missing, of another shape or of no use.
        """
        # Copied, not assigned: a snapshot stays as it is, whatever is done to the network.
        network = materialise(cls(spec, precision), device, torch.channels_last)
        network.load_state_dict(tensors)
        return network.requires_grad_(False).eval()

    def cast_once(self) -> Self:
        """Hold matrices in the number format that they are computed in; returns itself.

        Autocast would cast them at every call. The answers stay the same bits; the weights are
        rounded, so such a network is to be used and not to be kept.
        """
        if self.precision == "bf16":
            for part in self.blocks.modules():
                if type(part) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
                    part.to(torch.bfloat16)
        return self

    def block(self, t: int) -> Block:
        """Block t, t = 1..T: the one place that turns the paper's t into a list position."""
        if not 1 <= t <= self.spec.num_blocks:
            raise IndexError(f"t runs from 1 to {self.spec.num_blocks}, got {t}")
        block = self.blocks[t - 1]
        assert isinstance(block, Block)
        return block

    @torch.inference_mode()
    def trace(self, x: Tensor, draws: Sequence[Draw], *, keep_z: bool = False) -> list[Trace]:
        """Run inference from noise to z_T, once per noise draw; keep what each block says.

        What a block makes of the samples alone is made once for all draws.

        Args:
            x: normalised samples, float32 (B, C, H, W) in channels-last memory or (B, F).
            draws: each the noise of z_0 and then of the steps.
            keep_z: keep every z_t.
        """
        return self.follow(x, draws, keep_z=keep_z)

    def follow(self, x: Tensor, draws: Sequence[Draw], *, keep_z: bool = False) -> list[Trace]:
        """``trace`` without inference mode, which an exported graph cannot hold."""
        noises = [self._noise(x, draw) for draw in draws]
        z = [[self.objective.begin(noise())] for noise in noises]
        block_logits: list[list[Tensor]] = [[] for _ in draws]
        readouts: list[list[Tensor]] = [[] for _ in draws]
        for t in range(1, self.spec.num_blocks + 1):
            ask = self._asked(t, x)
            for steps, said, read, noise in zip(z, block_logits, readouts, noises, strict=True):
                z_t, logits = self.objective.step(t, steps[-1], self.class_embed, ask, noise)
                said.append(logits)
                steps.append(z_t)
                read.append(self.read(z_t))
                if not keep_z:
                    del steps[0]
        return [
            Trace(
                torch.stack(steps) if keep_z else torch.empty(0),
                torch.stack(said),
                torch.stack(read),
            )
            for steps, said, read in zip(z, block_logits, readouts, strict=True)
        ]

    def _asked(self, t: int, x: Tensor) -> Ask:
        """Block t on these samples."""
        block = self.block(t)
        with autocast(self.precision, x.device):
            features = block.features(x)

        def ask(z: Tensor, level: Tensor | None) -> Tensor:
            with autocast(self.precision, x.device):
                return block.classify(z, features, level=level).float()

        return ask

    def _noise(self, x: Tensor, draw: Draw) -> Callable[[], Tensor]:
        """What gives the draw's next noise (B, D)."""
        if isinstance(draw, torch.Generator):
            shape = (len(x), self.spec.embed_dim)
            make = partial(torch.randn, shape, generator=draw, device=x.device)
            draw = (make() for _ in range(self.objective.num_draws))
        noises = iter(draw)

        def noise() -> Tensor:
            for drawn in noises:
                return drawn
            raise TypeError(
                f"{type(self.objective).__name__} draws more noises than its num_draws, "
                f"{self.objective.num_draws}, in one pass of inference."
            )

        return noise

    def read(self, z: Tensor) -> Tensor:
        """Readout logits (B, K) of any z_t (B, D)."""
        return readout_logits(
            z,
            self.readout_weight,
            self.readout_bias,
            self.class_embed,
            kind=self.spec.readout,
        )


def samples_at_once(device: torch.device) -> int:
    """How many samples inference computes as one tensor."""
    return INFERENCE_BATCH * (GPU_BATCHES if device.type == "cuda" else 1)


def named_tensors(
    blocks: Mapping[int, Mapping[str, Tensor]], shared: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state dict of a network: that of every block by t = 1..T, and what they share."""
    own = {f"blocks.{t - 1}.{name}": v for t in blocks for name, v in blocks[t].items()}
    return own | dict(shared)
