"""A block's whole state at one step, as plain tensors; and its way in and out of live modules."""

from dataclasses import dataclass

import torch
from torch import Tensor

from noprop_dist.engine.job import Job
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.block import init_block
from noprop_dist.model.readout import init_readout

SHARED_NAMES: tuple[str, str, str] = ("class_embed", "readout_weight", "readout_bias")
MOMENTS = ("exp_avg", "exp_avg_sq")

Shared = dict[str, Tensor]  # class_embed (K, D), readout_weight (K, D), readout_bias (K,)


@dataclass(frozen=True)
class Snapshot:
    """Block t after ``step`` steps; never written to after it is made.

    Attributes:
        t: the block, 1..T.
        step: steps taken.
        tensors: on the CPU, by name. ``block.*``: weights and batch-norm buffers; ``shared.*``: the
            block's own copy of class embeddings and readout; ``exp_avg.*``, ``exp_avg_sq.*``: AdamW
            moments of both; ``ema.*``: averaged weights, if asked for; ``tally``: float64 (3,),
            loss sum, right answers and images of the epoch so far.
    """

    t: int
    step: int
    tensors: dict[str, Tensor]

    def weights(self) -> dict[str, Tensor]:
        """State dict of the block for inference: the averaged weights where there are any."""
        weights = self.part("block")
        return weights | self.part("ema")

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under ``prefix``, without it."""
        start = prefix + "."
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


def first_snapshot(job: Job, t: int, shared: Shared) -> Snapshot:
    """Block t before its first step, its parameters drawn from the key (seed, "init", t)."""
    block = init_block(job.spec.make_block(), torch_generator(job.config.seed, "init", t))
    tensors = {f"block.{k}": v for k, v in block.state_dict().items()}
    tensors |= {f"shared.{k}": v.clone() for k, v in shared.items()}
    trained = [f"block.{k}" for k, _ in block.named_parameters()]
    trained += [f"shared.{k}" for k in shared]
    for moment in MOMENTS:
        tensors |= {f"{moment}.{k}": torch.zeros_like(tensors[k]) for k in trained}
    if job.config.ema_decay is not None:
        tensors |= {f"ema.{k}": p.detach().clone() for k, p in block.named_parameters()}
    tensors["tally"] = torch.zeros(3, dtype=torch.float64)
    return Snapshot(t, 0, tensors)


def first_shared(class_embed: Tensor) -> Shared:
    """The class embeddings to start from, with a fresh readout."""
    weight, bias = init_readout(class_embed)
    return {"class_embed": class_embed, "readout_weight": weight, "readout_bias": bias}


def average_shared(snapshots: list[Snapshot]) -> Shared:
    """Mean over blocks of their copies, summed in the order given, in float64."""
    return {
        name: torch.stack([s.tensors[f"shared.{name}"].double() for s in snapshots])
        .mean(dim=0)
        .float()
        for name in SHARED_NAMES
    }
