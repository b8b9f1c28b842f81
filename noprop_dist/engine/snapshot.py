"""A block's whole state at one step, as plain tensors; and its way in and out of live modules."""

from dataclasses import dataclass

import torch
from torch import Tensor

from noprop_dist.engine.job import Job
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.init import init_block
from noprop_dist.model.objective import Objective
from noprop_dist.model.readout import init_readout
from noprop_dist.model.registry import make_block

SHARED_NAMES: tuple[str, str, str] = ("class_embed", "readout_weight", "readout_bias")

Shared = dict[str, Tensor]  # class_embed (K, D), readout_weight (K, D), readout_bias (K,)


@dataclass(frozen=True)
class EpochEnd:
    """What evaluation and averaging need of a block at an epoch's end; no optimiser state.

    Attributes:
        weights: state dict of the block for inference.
        shared: the block's own copy of class embeddings and readout.
        tally: float64 (3,), the epoch's loss sum, right answers and images.
        images_per_s: how fast the epoch's last unit was.
    """

    weights: dict[str, Tensor]
    shared: Shared
    tally: Tensor
    images_per_s: float

    def to_tensors(self) -> dict[str, Tensor]:
        """All of it under names, for a file."""
        tensors = {f"block.{k}": v for k, v in self.weights.items()}
        tensors |= {f"shared.{k}": v for k, v in self.shared.items()}
        rate = torch.tensor(self.images_per_s, dtype=torch.float64)
        return tensors | {"tally": self.tally, "images_per_s": rate}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "EpochEnd":
        """The inverse of ``to_tensors``."""
        return cls(
            part(tensors, "block"),
            part(tensors, "shared"),
            tensors["tally"],
            float(tensors["images_per_s"]),
        )


@dataclass(frozen=True)
class Snapshot:
    """Block t after ``step`` steps; never written to after it is made.

    Attributes:
        t: the block, 1..T.
        step: steps taken.
        tensors: on the CPU, by name. ``block.*``: weights and batch-norm buffers; ``shared.*``: the
            block's own copy of class embeddings and readout; ``exp_avg.*`` and the like: what the
            optimiser keeps of both; ``ema.*``: averaged weights, if asked for; ``tally``: float64
            (3,), loss sum, right answers and images of the epoch so far.
    """

    t: int
    step: int
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under ``prefix``, without it."""
        return part(self.tensors, prefix)

    def epoch_end(self, images_per_s: float) -> EpochEnd:
        """What is kept of an epoch's end: the averaged weights where there are any."""
        weights = self.part("block") | self.part("ema")
        return EpochEnd(weights, self.part("shared"), self.tensors["tally"], images_per_s)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under ``prefix``, without it."""
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def first_snapshot(job: Job, t: int, shared: Shared) -> Snapshot:
    """Block t before its first step, its parameters drawn from the key (seed, "init", t)."""
    block = init_block(make_block(job.spec, t), torch_generator(job.config.seed, "init", t))
    tensors = {f"block.{k}": v for k, v in block.state_dict().items()}
    tensors |= {f"shared.{k}": v.clone() for k, v in shared.items()}
    trained = [f"block.{k}" for k, _ in block.named_parameters()]
    trained += [f"shared.{k}" for k in shared]
    for name in trained:
        kept = job.rule(name, tensors[name].dim()).state
        tensors |= {f"{moment}.{name}": torch.zeros_like(tensors[name]) for moment in kept}
    if job.config.ema_decay is not None:
        tensors |= {f"ema.{k}": p.detach().clone() for k, p in block.named_parameters()}
    tensors["tally"] = torch.zeros(3, dtype=torch.float64)
    return Snapshot(t, 0, tensors)


def first_shared(class_embed: Tensor, objective: Objective | None = None) -> Shared:
    """The class embeddings to start from, with a fresh readout.

    Args:
        class_embed: W (K, D).
        objective: of the run: its z ends at what it makes of W, which the readout looks for. None,
            W itself.
    """
    ends = class_embed if objective is None else objective.embedding(class_embed)
    weight, bias = init_readout(ends)
    return {"class_embed": class_embed, "readout_weight": weight, "readout_bias": bias}


def average_shared(copies: list[Shared]) -> Shared:
    """Mean over blocks of their copies, summed in the order given, in float64."""
    return {
        name: torch.stack([copy[name].double() for copy in copies]).mean(dim=0).float()
        for name in SHARED_NAMES
    }
