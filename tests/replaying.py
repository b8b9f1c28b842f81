"""A stand-in for CUDA graphs on a CPU: a step's operations, recorded once and done again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from noprop_dist.engine.live_block import LiveBlock, Replay

Operation = tuple[Any, tuple[Any, ...], dict[str, Any], Any]

# They look at a value, or bring one from the host: neither can be part of a graph.
LOOKS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}


class Operations(TorchDispatchMode):
    """Every operation, with the very tensors that it reads and makes: the addresses of a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func not in LOOKS, f"{func} cannot be part of a graph"
        made = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        for func, args, kwargs, made in self.done:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(made)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def told(self) -> list[str]:
        """The operations in words: everything but the values of tensors and the generator."""

        def word(value: object) -> object:
            if isinstance(value, Tensor):
                return tuple(value.shape), value.dtype
            return "generator" if isinstance(value, torch.Generator) else value

        return [f"{func} {tree_map(word, (args, kwargs))}" for func, args, kwargs, _ in self.done]


def recorded(warm_up: int = 2) -> Callable[[LiveBlock], Replay]:
    """As ``record_graph``: warm up, record, and leave no trace in the block."""

    def record(live: LiveBlock) -> Replay:
        before = {name: tensor.clone() for name, tensor in live.changing().items()}
        for _ in range(warm_up):
            live.compute(live.x, live.y)
        with Operations() as operations:
            live.compute(live.x, live.y)
        with torch.no_grad():
            for name, tensor in live.changing().items():
                tensor.copy_(before[name])

        def replay() -> None:
            with torch.no_grad():
                operations.replay()

        return replay

    return record
