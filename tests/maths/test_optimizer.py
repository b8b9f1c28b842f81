"""Every optimiser does what PyTorch's own class does, step by step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from noprop_dist.maths.optimizer import OPTIMIZERS
from noprop_dist.maths.rule import Parameters, Settings

CLASSES: dict[str, tuple[Settings, Callable[[list[Tensor]], torch.optim.Optimizer]]] = {
    "adamw": (Settings(0.1), lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
    "sgd": (Settings(0.1), lambda p: torch.optim.SGD(p, weight_decay=0.1, momentum=0.9)),
    "sgd, nesterov": (
        Settings(0.1, 0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, weight_decay=0.1, momentum=0.8, nesterov=True),
    ),
    "sgd, no momentum": (Settings(0.0, 0.0), torch.optim.SGD),
    "muon": (
        Settings(0.1),
        lambda p: torch.optim.Muon(p, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_it_is_pytorch_s(name: str) -> None:
    settings, make = CLASSES[name]
    draw = torch.Generator().manual_seed(0)
    theirs = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in [(5, 7), (8, 3)]]
    ours = [p.detach().clone() for p in theirs]
    optimizer = make(theirs)
    rule = OPTIMIZERS[name.partition(",")[0]](2, True)
    state = {kept: [torch.zeros_like(p) for p in ours] for kept in rule.state}
    steps = [torch.zeros(()) for _ in ours]
    for lr in (0.1, 0.03, 0.01):
        for group in optimizer.param_groups:
            group["lr"] = lr
        grads = [torch.randn(p.shape, generator=draw) for p in ours]
        for p, grad in zip(theirs, grads, strict=True):
            p.grad = grad.clone()
        optimizer.step()
        rate = torch.tensor(lr, dtype=torch.float64)
        rule.step(Parameters(ours, grads, state, steps), rate, settings)
    for mine, p in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, p.detach(), rtol=0, atol=1e-6)


def test_muon_is_for_the_matrices_of_a_block_alone() -> None:
    rule = OPTIMIZERS["muon"]
    assert rule(2, True) == OPTIMIZERS["muon"](2, True) != OPTIMIZERS["adamw"](2, True)
    assert {rule(4, True), rule(1, True), rule(2, False)} == {OPTIMIZERS["adamw"](2, True)}
