"""Optimisers by name; a new one is a row of OPTIMIZERS.

PyTorch's functions on tensors of our own, not its classes: constructing one imports PyTorch's
compiler, a second and a half and 150 MB of every worker.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim._muon import muon
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from noprop_dist.maths.rule import Parameters, Rule, Settings


def _adamw(params: Parameters, lr: Tensor, settings: Settings) -> None:
    adamw(
        params.values,
        params.grads,
        exp_avgs=params.state["exp_avg"],
        exp_avg_sqs=params.state["exp_avg_sq"],
        max_exp_avg_sqs=[],
        state_steps=params.steps,
        fused=True,
        capturable=lr.device.type != "cpu",
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=lr,
        weight_decay=settings.weight_decay,
        eps=1e-8,
        maximize=False,
    )


def _sgd(params: Parameters, lr: Tensor, settings: Settings) -> None:
    sgd(
        params.values,
        params.grads,
        [*params.state["momentum_buffer"]],
        fused=True,
        weight_decay=settings.weight_decay,
        momentum=0.9 if settings.momentum is None else settings.momentum,
        lr=lr,
        dampening=0.0,
        nesterov=settings.nesterov,
        maximize=False,
    )


def _muon(params: Parameters, lr: Tensor, settings: Settings) -> None:
    # PyTorch's function takes the rate as a number, which a recording would freeze: at a rate of 1
    # it turns zeros into the update itself.
    updates = [torch.zeros_like(p) for p in params.values]
    muon(
        updates,
        params.grads,
        params.state["momentum_buffer"],
        lr=1.0,
        weight_decay=0.0,
        momentum=0.95 if settings.momentum is None else settings.momentum,
        nesterov=True,
        ns_coefficients=(3.4445, -4.7750, 2.0315),
        ns_steps=5,
        eps=1e-7,
        adjust_lr_fn="match_rms_adamw",  # one learning rate for it and for AdamW beside it
        has_complex=False,
    )
    for p, update in zip(params.values, updates, strict=True):
        p.mul_(1 - lr * settings.weight_decay).add_(update * lr)


ADAMW = Rule(("exp_avg", "exp_avg_sq"), _adamw)
SGD = Rule(("momentum_buffer",), _sgd, scale_free=False)
MUON = Rule(("momentum_buffer",), _muon)

# By the name that --optimizer takes (``config.groups.OptimisationOptions`` lists them too): the
# rule of a parameter, by its number of dimensions and whether it is a block's own.
OPTIMIZERS: dict[str, Callable[[int, bool], Rule]] = {
    "adamw": lambda dims, in_block: ADAMW,
    "sgd": lambda dims, in_block: SGD,
    # The shared class embeddings and readout are no hidden layers, which alone Muon is for.
    "muon": lambda dims, in_block: MUON if in_block and dims == 2 else ADAMW,
}
