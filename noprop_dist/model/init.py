"""Starting values of a block: drawn from a key, and none left out.

PyTorch's own constructors draw from one global generator, which no two threads can share and stay
reproducible. So a block is built without values, and every module that owns some gets them here:
as PyTorch would, but from a generator of our own.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from noprop_dist.model.block import Block

OWN = "init_values"  # a module with parameters of its own has this method, given a generator
# They draw from PyTorch's global generator while they train.
_UNKEYED = (nn.modules.dropout._DropoutNd, nn.RReLU)


def _fan_in_uniform(module: Any, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _embedding(module: nn.Embedding, generator: torch.Generator) -> None:
    nn.init.normal_(module.weight, generator=generator)
    if module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


def _attention(module: nn.MultiheadAttention, generator: torch.Generator) -> None:
    """Its output layer is a linear one and is visited as such."""
    for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        if (weight := getattr(module, name)) is not None:
            nn.init.xavier_uniform_(weight, generator=generator)
    if module.in_proj_bias is not None:
        nn.init.zeros_(module.in_proj_bias)
    for extra in (module.bias_k, module.bias_v):
        if extra is not None:
            nn.init.xavier_normal_(extra, generator=generator)


def _without_draw(module: Any, generator: torch.Generator) -> None:
    module.reset_parameters()  # ones and zeros


INITIALISERS: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[..., None]] = {
    (nn.Linear, nn.modules.conv._ConvNd): _fan_in_uniform,
    nn.Embedding: _embedding,
    nn.MultiheadAttention: _attention,
    (
        nn.modules.batchnorm._NormBase,
        nn.LayerNorm,
        nn.GroupNorm,
        nn.RMSNorm,
        nn.PReLU,
    ): _without_draw,
}


def init_block(block: Block, generator: torch.Generator) -> Block:
    """Materialise a block on the CPU with PyTorch's default initialisation, drawn from a key.

    Args:
        block: on the meta device.
        generator: on the CPU.

    Raises:
        TypeError: a parameter or buffer that nothing gives a value or that no state dict holds, or
            a module that draws from PyTorch's global generator; names it, and what would be right.
    """
    block.to_empty(device="cpu")
    for path, module in block.named_modules():
        _check_draws(path, module)
        own = dict(module.named_parameters(recurse=False)) | dict(
            module.named_buffers(recurse=False)
        )
        for name in own.keys() & module._non_persistent_buffers_set:
            raise TypeError(
                f"{_name(path, name)} of the block {type(block).__name__} is no part of its state, "
                "which is all that workers and files get: register the buffer as persistent."
            )
        before = {name: tensor._version for name, tensor in own.items()}
        if own:
            _draw_values(module, generator)
        for name, tensor in own.items():
            # Whatever writes to a tensor raises its version: what was not written to has no value.
            now = getattr(module, name)
            if now is tensor and now._version == before[name]:
                raise TypeError(
                    f"{_name(path, name)} of the block {type(block).__name__} gets no value: "
                    f"{type(module).__name__} needs a method {OWN}(generator) that draws it."
                )
    return block.to(memory_format=torch.channels_last)


def _draw_values(module: nn.Module, generator: torch.Generator) -> None:
    if hasattr(module, OWN):
        getattr(module, OWN)(generator)
        return
    for kinds, initialise in INITIALISERS.items():
        if isinstance(module, kinds):
            initialise(module, generator)
            return


def _check_draws(path: str, module: nn.Module) -> None:
    attention = isinstance(module, nn.MultiheadAttention) and module.dropout > 0
    if attention or isinstance(module, _UNKEYED):
        raise TypeError(
            f"{path} ({type(module).__name__}) draws from PyTorch's global generator, so that one "
            "seed would not give one network: use KeyedDropout, with the generator that the block "
            "is given."
        )


def _name(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
