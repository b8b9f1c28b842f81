"""Starting values of a block: drawn from a key, and none left out.

PyTorch's own constructors draw from one global generator, which no two threads can share and stay
reproducible. So a block is built without values, and every module that owns some gets them here:
as PyTorch would, but from a generator of our own.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block

M = TypeVar("M", bound=nn.Module)
OWN = "init_values"  # a module with parameters of its own has this method, given a generator


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
    for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        if (weight := getattr(module, name)) is not None:
            nn.init.xavier_uniform_(weight, generator=generator)
    if module.in_proj_bias is not None:
        nn.init.zeros_(module.in_proj_bias)
        nn.init.zeros_(module.out_proj.bias)
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


def materialise(
    module: M, device: torch.device | str, layout: torch.memory_format = torch.contiguous_format
) -> M:
    """Give a module from the meta device memory without values.

    A tensor that has two names is still one afterwards. Floats are NaN until they are written to.

    Args:
        module: on the meta device, with all its parts.
        device: where to.
        layout: of tensors of four axes. What is drawn is drawn row by row: it is put into memory
            in the order in which that lies.
    """
    twins: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}
    for owned in _owned(module):
        twins.setdefault(id(owned[2]), []).append(owned)
    # Not by to_empty, which imports SymPy on the way from the meta device: a third of a second.
    for names in twins.values():
        meta = names[0][2]
        order = layout if meta.dim() == 4 else torch.contiguous_format
        made = torch.empty(meta.shape, dtype=meta.dtype, device=device, memory_format=order)
        if made.is_floating_point():
            made.fill_(math.nan)
        if isinstance(meta, nn.Parameter):
            made = nn.Parameter(made, meta.requires_grad)
        for owner, name, _ in names:
            setattr(owner, name, made)
    return module


def init_block(block: Block, generator: torch.Generator) -> Block:
    """Materialise a block on the CPU with PyTorch's default initialisation, drawn from a key.

    Parts are visited before what holds them, so that a module can change what its parts drew.

    Args:
        block: on the meta device.
        generator: on the CPU.

    Raises:
        UserError: a parameter or buffer that nothing gives a value or that no state dict holds;
            names it, and what would be right.
    """
    materialise(block, "cpu")
    # Whatever writes to a tensor raises its version; a part that was not written to is still NaN.
    before = {id(tensor): tensor._version for _, _, tensor in _owned(block)}
    for module in _parts_first(block):
        _draw_values(module, generator)
    called = {id(module): path for path, module in block.named_modules()}
    for module, name, tensor in _owned(block):
        path = ".".join(filter(None, [called[id(module)], name]))
        if name in module._non_persistent_buffers_set:
            raise UserError(
                f"{path} of the block {type(block).__name__} is no part of its state, "
                "which is all that workers and files get: register the buffer as persistent."
            )
        if tensor._version == before.get(id(tensor), -1) or bool(tensor.isnan().any()):
            raise UserError(
                f"{path} of the block {type(block).__name__} gets no value: "
                f"{type(module).__name__} needs a method {OWN}(generator) that draws it."
            )
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return block


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Every parameter and buffer with the part that owns it; one of two names comes twice."""
    for part in module.modules():
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None:
                yield part, name, tensor


def _parts_first(module: nn.Module) -> list[nn.Module]:
    """A module's parts, theirs before them, and then itself; each once."""
    found: dict[int, nn.Module] = {}

    def visit(module: nn.Module) -> None:
        for part in module.children():
            visit(part)
        found.setdefault(id(module), module)

    visit(module)
    return list(found.values())


def _draw_values(module: nn.Module, generator: torch.Generator) -> None:
    if hasattr(module, OWN):
        getattr(module, OWN)(generator)
        return
    for kinds, initialise in INITIALISERS.items():
        if isinstance(module, kinds):
            initialise(module, generator)
            return
