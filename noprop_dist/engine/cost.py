"""What a run takes of memory, computed from shapes before anything of it is made.

P parameters of a block, B batch, T blocks. All amounts are bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from noprop_dist.config import TrainConfig
from noprop_dist.data.feed import RESIDENT_SHARE
from noprop_dist.engine.job import make_spec
from noprop_dist.errors import UserError
from noprop_dist.maths.optimizer import OPTIMIZERS
from noprop_dist.model.registry import default_block, make_block
from noprop_dist.model.rehearsal import count_flops, rehearse
from noprop_dist.model.spec import ModelSpec
from noprop_dist.text import how_many

SIZES = (512, 384, 256, 224, 192, 160, 128, 96, 64, 48, 32, 28, 16, 8)
SPARE = 0.95  # of what is free: what is left is the system's
BACKWARD = 1.5  # gradients of activations live beside what was saved of them
WORKER_BYTES = 450 * 2**20  # of a worker's process on Ray, most of it PyTorch
RAY_BYTES = 600 * 2**20  # of the processes of a private cluster beside its workers
GPU_SPARE = 0.1  # of a GPU's free memory, for libraries' workspaces and what lies between tensors
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
        spec: the network.
        batch_size: B.
        optimizer: by its name, which says how much it keeps of each parameter.
        averages_weights: whether each block has a second set of weights, their average.
        keeps_best: whether the best epoch's weights are kept.
    """

    spec: ModelSpec
    batch_size: int
    optimizer: str
    averages_weights: bool
    keeps_best: bool

    @classmethod
    def of(cls, config: TrainConfig, spec: ModelSpec) -> "Cost":
        """Of a run with these options."""
        keeps_best = config.early_stopping_patience is not None
        averages = config.ema_decay is not None
        return cls(spec, config.batch_size, config.optimizer, averages, keeps_best)

    @cached_property
    def parameters(self) -> int:
        """P, of the block and of its own copy of what is shared."""
        return self._shared + sum(p.numel() for p in self._own)

    @property
    def _shared(self) -> int:
        """Parameters that blocks share."""
        spec = self.spec
        return 2 * spec.num_classes * spec.embed_dim + spec.num_classes

    @cached_property
    def _own(self) -> list[nn.Parameter]:
        """A block's own parameters, on the meta device."""
        return list(make_block(self.spec, 1).parameters())

    @property
    def weights(self) -> int:
        """Of one block."""
        return 4 * self.parameters

    @property
    def snapshot(self) -> int:
        """Of one block with what its optimiser keeps."""
        return (1 + self.averages_weights) * self.weights + 4 * self._kept_by_optimizer

    @cached_property
    def _kept_by_optimizer(self) -> int:
        """Numbers that the optimiser keeps of a block's parameters and of what is shared."""
        rule = OPTIMIZERS[self.optimizer]
        kept = sum(len(rule(p.dim(), True).state) * p.numel() for p in self._own)
        return kept + len(rule(2, False).state) * self._shared

    def sizes(self) -> dict[str, int]:
        """Parameters and bytes of memory, of a block and of all T, as computed before the run."""
        blocks = self.spec.num_blocks
        return {
            "block_parameters": self.parameters,
            "network_parameters": blocks * (self.parameters - self._shared) + self._shared,
            "block_training_bytes": self.unit,
            "network_training_bytes": blocks * self.unit,
        }

    def told(self) -> dict[str, int]:
        """``sizes``, and floating-point operations of a block and of all T for one image."""
        flops, blocks = count_flops(self.spec), self.spec.num_blocks
        return self.sizes() | {
            "block_forward_flops": flops.forward,
            "network_forward_flops": blocks * flops.forward,
            "block_training_flops": flops.training,
            "network_training_flops": blocks * flops.training,
        }

    @property
    def activations(self) -> int:
        """What a training step of one block keeps for its backward pass, in float32."""
        return rehearse(self.spec, self.batch_size)

    @property
    def unit(self) -> int:
        """Of a block while it trains: snapshot, gradients and activations."""
        return self.snapshot + self.weights + int(BACKWARD * self.activations)

    def on_gpu(self, blocks: int) -> int:
        """Of so many blocks that train at once on a GPU, and the run's snapshots, which stay there.

        A quarter of it is kept for the data and a tenth for PyTorch's own.
        """
        return int((blocks * self.unit + self.coordinator) / (1 - RESIDENT_SHARE - GPU_SPARE))

    @property
    def coordinator(self) -> int:
        """Of what the coordinator keeps: newest snapshots, and the weights of two epochs' ends."""
        epochs = 2 + self.keeps_best
        return self.spec.num_blocks * (self.snapshot + epochs * self.weights)

    def here(self, slots: int) -> int:
        """Of a run in one process with so many units at once."""
        return self.coordinator + slots * self.unit

    def worker(self, units_at_once: int) -> int:
        """Of a worker on Ray that trains so many blocks at once and keeps two snapshots of each."""
        return WORKER_BYTES + units_at_once * (self.unit + 2 * self.snapshot)

    def on_node(self, workers: int, units_at_once: int, data: int) -> int:
        """Of some workers of a run with their node's object store."""
        networks = 2 * self.spec.num_blocks * self.weights
        store = data + networks + workers * units_at_once * self.snapshot
        return workers * self.worker(units_at_once) + store

    def on_ray(self, workers: int, units_at_once: int, data: int) -> int:
        """Of a run whose workers are on the machine of the coordinator."""
        return RAY_BYTES + self.coordinator + self.on_node(workers, units_at_once, data)


Needs = Callable[[Cost, int], int]  # what a run takes with so many units at once


def blocks_that_fit(
    config: TrainConfig, spec: ModelSpec, free: int, most: int, needs: Needs
) -> int:
    """How many blocks, up to ``most``, can train at once in so much free memory, 1 at least."""
    cost = Cost.of(config, spec)
    return next((n for n in range(most, 1, -1) if needs(cost, n) <= SPARE * free), 1)


def check_memory(config: TrainConfig, spec: ModelSpec, free: int, slots: int, needs: Needs) -> int:
    """Refuse a run that does not fit.

    Args:
        config: the options.
        spec: the network that they mean.
        free: what there is, on one machine.
        slots: units at once there.
        needs: what a run takes there.

    Returns:
        What this one takes.

    Raises:
        UserError: it does not fit; names what would.
    """
    cost = Cost.of(config, spec)
    needed = needs(cost, slots)
    if needed <= SPARE * free:
        return needed
    firsts: dict[str, str] = {}  # by flag, the least change that is enough
    for flag, value, smaller, fewer in _smaller(config, spec, slots):
        if needs(smaller, fewer) <= SPARE * free:
            firsts.setdefault(flag, f"{flag} {value}")
    advice = f"give {', or '.join(list(firsts.values())[:3])}" if firsts else "use a larger machine"
    shape = "x".join(map(str, spec.sample_shape))
    raise UserError(
        f"{how_many(spec.num_blocks, 'block')} of {cost.parameters:,} parameters for samples "
        f"of {shape} need some {needed / GIB:,.1f} GiB with their optimiser and a batch of "
        f"{config.batch_size}, and {free / GIB:,.1f} GiB are free: {advice}."
    )


def _smaller(
    config: TrainConfig, spec: ModelSpec, slots: int
) -> Iterator[tuple[str, object, Cost, int]]:
    """Flags that make a run smaller, the least change first of each kind, and what they make."""

    def changed(shape: tuple[int, ...] = spec.sample_shape, **options: Any) -> Cost:
        kept = None if config.embedding_type == "prototype" else config.embedding_dim
        other = replace(config, **({"embedding_dim": kept} | options))
        return Cost.of(other, make_spec(other, shape, spec.num_classes))

    images, side = len(spec.sample_shape) == 3, max(spec.sample_shape[1:], default=0)
    split = config.split_depth is not None  # layers in fewer blocks are as large
    if not split and (block := default_block(spec.sample_shape, spec.objective)) not in (
        None,
        spec.block,
    ):
        yield "--block", block, changed(block=block), slots
    for fewer in range(slots - 1, 0, -1):
        yield "--workers", fewer, Cost.of(config, spec), fewer
    for size in SIZES:
        if images and size < side:
            smaller = changed((spec.sample_shape[0], size, size), block=spec.block)
            yield "--image-size", size, smaller, slots
    dim = spec.embed_dim
    while config.embedding_type == "learned" and (dim := dim // 2) >= 8:
        yield "--embedding-dim", dim, changed(embedding_dim=dim), slots
    batch = config.batch_size
    while (batch := batch // 2) >= 8:
        yield "--batch-size", batch, changed(batch_size=batch), slots
    for fewer in range(config.num_blocks - 1, 0, -1) if not split else ():
        yield "--num-blocks", fewer, changed(num_blocks=fewer), min(slots, fewer)
