"""What an optimiser is given, and what it is: a rule for updating parameters in a step.

A step looks at no value and brings none from the host, so that it can be recorded as a CUDA graph.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """Numbers that stay the same for a whole run.

    Attributes:
        weight_decay: decoupled from the gradient in AdamW and Muon, added to it in SGD.
        momentum: the share that is kept, in [0, 1); None is 0.9 in SGD and 0.95 in Muon.
        nesterov: whether SGD's momentum is Nesterov's; Muon's always is.
    """

    weight_decay: float
    momentum: float | None = None
    nesterov: bool = False


@dataclass(frozen=True)
class Parameters:
    """Parameters that are updated alike, in one order throughout; all on one device.

    Attributes:
        values: float32, of any shape; written to.
        grads: of their shapes.
        state: by name, tensors of their shapes and memory formats; written to.
        steps: float32 scalars, the steps taken; written to by who needs them.
    """

    values: list[Tensor]
    grads: list[Tensor]
    state: dict[str, list[Tensor]]
    steps: list[Tensor]


@dataclass(frozen=True)
class Rule:
    """How parameters are updated.

    Attributes:
        state: names of the tensors that it keeps for each parameter, zero at first.
        step: (parameters, learning rate as a scalar on their device, settings).
        scale_free: whether a loss that is larger by a factor makes the same steps.
    """

    state: tuple[str, ...]
    step: Callable[[Parameters, Tensor, Settings], None]
    scale_free: bool = True
