"""The blocks and objectives that there are, by name: a new one is a class and a row here."""

import inspect
from typing import Any

import torch

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block, BlockShape
from noprop_dist.model.continuous_time import ContinuousTime
from noprop_dist.model.discrete_time import DiscreteTime
from noprop_dist.model.flow_matching import FlowMatching
from noprop_dist.model.noise_ranges import NoiseRanges
from noprop_dist.model.objective import Objective
from noprop_dist.model.own_block import BlockCode, blamed
from noprop_dist.model.resnet import ResNetLayersBlock
from noprop_dist.model.resnet9 import ResNet9Block
from noprop_dist.model.spec import ModelSpec
from noprop_dist.model.two_paths import ConvBlock, PooledConvBlock, ResNetBlock, VectorBlock
from noprop_dist.model.vit import SmallViTBlock, ViTBlock
from noprop_dist.model.without_z import WithoutZ

# The names are choices of ``config.model_options.ModelOptions`` too, which imports no PyTorch.
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
    "resnet9": ResNet9Block,
    "resnet": ResNetLayersBlock,
    "vit-tiny": ViTBlock,
    "vit-small": SmallViTBlock,
}


def block_class(name: str, code: BlockCode | None = None) -> type[Block]:
    """The class of a block.

    Args:
        name: one of BLOCKS, or of a class of the user's own.
        code: the source of such a class.

    Raises:
        UserError: that source cannot be run.
        ValueError: unknown name, or no source.
    """
    if code is not None:
        return code.load()
    if name not in BLOCKS:
        raise ValueError(f"unknown block {name!r}; known are {', '.join(BLOCKS)}")
    return BLOCKS[name]


def takes(block: type[Block], sample: tuple[int, ...], objective: str = "dt") -> bool:
    """Whether a block takes samples of such a kind, whatever their size.

    Args:
        block: its class.
        sample: (C, H, W) or (F,).
        objective: that it learns; some need blocks that can be told a noise level.
    """
    kind = "vectors" if len(sample) == 1 else "images"
    return block.takes.kind == kind and (block.takes.level or not OBJECTIVES[objective].tells_level)


def takes_depth(block: type[Block]) -> bool:
    """Whether a block is made of as many layers as it is told."""
    return "depth" in inspect.signature(block).parameters


def blocks_for(sample: tuple[int, ...], objective: str = "dt") -> list[str]:
    """Names of the blocks that take such samples; arguments as of ``takes``."""
    return [name for name, block in BLOCKS.items() if takes(block, sample, objective)]


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
        UserError: ``block_options`` that the block does not take.
        ValueError: unknown name, or samples or an objective that the block cannot take.
    """
    name, sample = spec.block, spec.sample_shape
    block, options = block_class(name, spec.block_code), dict(spec.block_options)
    least, kind = block.takes.least, block.takes.kind
    if not takes(block, sample) or min(sample[1:], default=1) < least:
        size = f" of at least {least}x{least}" if kind == "images" else ""
        raise ValueError(f"the block {name} takes {kind}{size}, got {sample}")
    if not takes(block, sample, spec.objective):
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
    _check_options(name, block, shape, options)
    with torch.device("meta"), blamed(name):
        return block(shape, **options)


def _check_options(
    name: str, block: type[Block], shape: BlockShape, options: dict[str, Any]
) -> None:
    signature = inspect.signature(block)
    try:
        signature.bind(shape, **options)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[1:])
        takes_none = f"the block {name} takes {f'the options {known}' if known else 'no options'}"
        raise UserError(
            f"--block-options do not go with --block {name} ({error}): {takes_none}."
        ) from error
