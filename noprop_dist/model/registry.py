"""The blocks and objectives that there are, by name: a new one is a class and a row here."""

from collections.abc import Callable

import torch

from noprop_dist.maths.schedule import Schedule
from noprop_dist.model.block import Block, BlockShape
from noprop_dist.model.objective import DiscreteTime, Objective
from noprop_dist.model.two_paths import ConvBlock, PooledConvBlock, ResNetBlock, VectorBlock

# The names are choices of ``config.groups.ModelOptions`` too, which imports no PyTorch.
OBJECTIVES: dict[str, Callable[[Schedule], Objective]] = {
    "dt": DiscreteTime,
}
BLOCKS: dict[str, type[Block]] = {
    "conv": ConvBlock,
    "conv-pooled": PooledConvBlock,
    "mlp": VectorBlock,
    "resnet18": ResNetBlock,
}


def blocks_for(sample: tuple[int, ...]) -> list[str]:
    """Names of the blocks that take samples of such a kind, whatever their size."""
    kind = "vectors" if len(sample) == 1 else "images"
    return [name for name, block in BLOCKS.items() if block.takes.kind == kind]


def default_block(sample: tuple[int, ...]) -> str:
    """The block for samples where none is asked for: the first that is meant for their size."""
    side = 1 if len(sample) == 1 else max(sample[1:])
    return next(name for name in blocks_for(sample) if side <= BLOCKS[name].takes.default_up_to)


def make_block(name: str, shape: BlockShape) -> Block:
    """A block with uninitialised parameters on the meta device; see ``init_block``.

    Raises:
        ValueError: unknown name, or samples that the block cannot take.
    """
    if name not in BLOCKS:
        raise ValueError(f"unknown block {name!r}; known are {', '.join(BLOCKS)}")
    takes = BLOCKS[name].takes
    if name not in blocks_for(shape.sample) or min(shape.sample[1:], default=1) < takes.least:
        size = f" of at least {takes.least}x{takes.least}" if takes.kind == "images" else ""
        raise ValueError(f"the block {name} takes {takes.kind}{size}, got {shape.sample}")
    with torch.device("meta"):
        return BLOCKS[name](shape)
