"""A training step before there is a run: what a block keeps, and whether its draws are keyed.

B batch, D embedding width.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block
from noprop_dist.model.init import init_block
from noprop_dist.model.own_block import blamed
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.registry import make_block, make_objective
from noprop_dist.model.spec import ModelSpec

FEW = 2  # samples of a step that is computed: batch norm needs two
LARGE = 3 * 64 * 64  # numbers of a sample: a step of few smaller ones takes milliseconds


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a block for one sample; a multiplication and an addition are 2.

    Counted are matrix products and convolutions, as ``torch.utils.flop_counter`` counts them.

    Attributes:
        forward: of one answer.
        training: of a step, forward and backward.
    """

    forward: int
    training: int


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to be skipped imports the compiler


class _KeyedDraws(_Mode):
    """Refuses operations that draw from PyTorch's global generator."""

    def __init__(self, who: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.who = who

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        keyed = any(isinstance(value, torch.Generator) for value in [*args, *kwargs.values()])
        if torch.Tag.nondeterministic_seeded in func.tags and not keyed:
            raise UserError(
                f"{self.who} draws from PyTorch's global generator ({func}), so that one seed "
                "would not give one network: use KeyedDropout instead of torch's dropout, and "
                "give every draw the generator that the block is given."
            )
        return func(*args, **kwargs)


class _Counted(_Mode):
    """Adds up the operations of matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry  # imports Triton, where that is

        self.formulas, self.flops = flop_registry, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (formula := self.formulas.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **kwargs, out_val=out)
        return out


@lru_cache(maxsize=64)
def count_flops(spec: ModelSpec) -> Flops:
    """What block 1 of a network computes for a sample."""
    block = make_block(spec, 1).train()
    if math.prod(spec.sample_shape) <= LARGE:
        init_block(block, torch.Generator())
    device = next(block.parameters()).device
    sample = torch.zeros(FEW, *spec.sample_shape, device=device)
    z = torch.zeros(FEW, spec.embed_dim, device=device)
    level = torch.zeros(FEW, device=device) if block.shape.told_level else None
    with _Counted() as counted:
        logits = block(z, sample, torch.Generator(), level)
        forward = counted.flops
        logits.sum().backward()
    return Flops(forward // FEW, counted.flops // FEW)


@lru_cache(maxsize=64)
def rehearse(spec: ModelSpec, batch_size: int) -> int:
    """Bytes that a training step of block 1 keeps for its backward pass, in float32.

    What is kept grows by as much with every sample, so two steps of few samples tell it. A sample
    that is large is not computed but rehearsed on the meta device, whose first operation imports
    PyTorch's compiler, a second and 100 MB.

    Raises:
        UserError: the block or the objective draws from PyTorch's global generator, or a block of
            the user's own cannot take a step.
    """
    with blamed(spec.block):
        if math.prod(spec.sample_shape) > LARGE:
            with suppress(NotImplementedError, RuntimeError):  # a block that cannot run there
                return _kept_by_step(spec, make_block(spec, 1), batch_size)
        block = init_block(make_block(spec, 1), torch.Generator())
        few, more = (_kept_by_step(spec, block, rows) for rows in (FEW, FEW + 1))
    return few + (more - few) * (batch_size - FEW)


def _kept_by_step(spec: ModelSpec, block: Block, rows: int) -> int:
    weights = list(block.train().parameters())
    device = weights[0].device
    sample = torch.empty(rows, *spec.sample_shape, device=device)
    embed = torch.empty(spec.num_classes, spec.embed_dim, device=device)
    bias = torch.empty(spec.num_classes, device=device)
    if device.type == "cpu":
        for values in (sample, embed, bias):
            values.normal_(generator=torch.Generator())
    labels = torch.arange(rows, device=device) % spec.num_classes
    draw = torch.Generator()
    known = {w.untyped_storage()._cdata for w in weights}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # alive, or another gets its address
        return tensor

    def ask(z: Tensor, level: Tensor | None) -> Tensor:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            logits: Tensor = block(z, sample, draw, level)
        if logits.shape != (rows, spec.num_classes):
            raise RuntimeError(f"its logits of {rows} samples are {tuple(logits.shape)}")
        return logits

    def read(z: Tensor) -> Tensor:
        return readout_logits(z, embed, bias, embed, kind=spec.readout)

    with _KeyedDraws(f"the block {spec.block} or the objective {spec.objective}"):
        learned = make_objective(spec).loss(1, labels, embed, ask, read, eta=1.0, generator=draw)
    if not learned.loss.requires_grad:
        raise RuntimeError("its logits depend on none of its parameters")
    return sum(
        tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in known
    )
