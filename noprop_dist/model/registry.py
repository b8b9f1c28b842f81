"""The blocks and objectives that there are, by name: a new one is a class and a row here."""

import torch

from noprop_dist.model.block import Block, BlockShape
from noprop_dist.model.continuous_time import ContinuousTime
from noprop_dist.model.discrete_time import DiscreteTime
from noprop_dist.model.flow_matching import FlowMatching
from noprop_dist.model.noise_ranges import NoiseRanges
from noprop_dist.model.objective import Objective
from noprop_dist.model.spec import ModelSpec
from noprop_dist.model.two_paths import ConvBlock, PooledConvBlock, ResNetBlock, VectorBlock
from noprop_dist.model.without_z import WithoutZ

# The names are choices of ``config.groups.ModelOptions`` too, which imports no PyTorch.
OBJECTIVES: dict[str, type[Objective]] = {
    "dt": DiscreteTime,
    "ct": ContinuousTime,
    "fm": FlowMatching,
    "ranges": NoiseRanges,
    "none": WithoutZ,
}
BLOCKS: dict[str, type[Block]] = {
    "conv": ConvBlock,
    "conv-pooled": PooledConvBlock,
    "mlp": VectorBlock,
    "resnet18": ResNetBlock,
}


def blocks_for(sample: tuple[int, ...], objective: str = "dt") -> list[str]:
    """Names of the blocks that take samples of such a kind, whatever their size.

    Args:
        sample: (C, H, W) or (F,).
        objective: that they learn; some need blocks that can be told a noise level.
    """
    kind = "vectors" if len(sample) == 1 else "images"
    tells = OBJECTIVES[objective].tells_level
    fit = [n for n, block in BLOCKS.items() if block.takes.kind == kind]
    return [name for name in fit if BLOCKS[name].takes.level or not tells]


def default_block(sample: tuple[int, ...], objective: str = "dt") -> str | None:
    """The block where none is asked for: the first that is meant for samples of such a size."""
    side = 1 if len(sample) == 1 else max(sample[1:])
    fit = blocks_for(sample, objective)
    return next((name for name in fit if side <= BLOCKS[name].takes.default_up_to), None)


def make_objective(spec: ModelSpec) -> Objective:
    """What a block of such a network learns.

    Raises:
        ValueError: unknown name.
    """
    if spec.objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {spec.objective!r}; known are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[spec.objective](spec)


def make_block(spec: ModelSpec, t: int) -> Block:
    """Block t of a network, without values, on the meta device; see ``init_block``.

    Raises:
        ValueError: unknown name, or samples or an objective that the block cannot take.
    """
    name, sample = spec.block, spec.sample_shape
    if name not in BLOCKS:
        raise ValueError(f"unknown block {name!r}; known are {', '.join(BLOCKS)}")
    takes = BLOCKS[name].takes
    if name not in blocks_for(sample) or min(sample[1:], default=1) < takes.least:
        size = f" of at least {takes.least}x{takes.least}" if takes.kind == "images" else ""
        raise ValueError(f"the block {name} takes {takes.kind}{size}, got {sample}")
    if name not in blocks_for(sample, spec.objective):
        raise ValueError(f"the block {name} takes no noise level, which {spec.objective} tells it")
    shape = BlockShape(
        sample=sample,
        num_classes=spec.num_classes,
        embed_dim=spec.embed_dim,
        label_is_sample=spec.embedding_type == "prototype",
        dropout=spec.dropout,
        told_level=OBJECTIVES[spec.objective].tells_level,
        t=t,
        num_blocks=spec.num_blocks,
    )
    with torch.device("meta"):
        return BLOCKS[name](shape)
