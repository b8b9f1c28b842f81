"""What a block learns of a sample of two classes: z and loss are of the mixture of their rows."""

import math

import pytest
import torch
from torch import Tensor

from noprop_dist.maths.process import expected_embedding
from noprop_dist.model.objective import Learned
from noprop_dist.model.registry import make_objective
from noprop_dist.model.spec import ModelSpec
from runs import prepared


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return prepared(embedding_type="learned", embedding_dim=6)[0].spec


def learned(
    spec: ModelSpec, y: Tensor, w: Tensor, logits: Tensor, weight: Tensor | None = None
) -> tuple[Learned, list[Tensor]]:
    """What block 2 learns where its answer is ``logits``, and the z that block and readout saw."""
    seen: list[Tensor] = []

    def ask(z: Tensor, level: Tensor | None) -> Tensor:
        seen.append(z)
        return logits

    def read(z: Tensor) -> Tensor:
        seen.append(z)
        return torch.zeros(len(z), len(w))

    draw = torch.Generator().manual_seed(3)
    found = make_objective(spec).loss(2, y, w, ask, read, eta=0.5, generator=draw, weight=weight)
    return found, seen


def test_z_and_loss_are_of_the_mixture(spec: ModelSpec) -> None:
    w = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    y, other = torch.tensor([3, 1, 4]), torch.tensor([1, 5, 9])
    p = torch.zeros(3, 10).scatter(1, y[:, None], 0.7).scatter(1, other[:, None], 0.3)
    logits = p.log().clamp(min=-50)  # the right answer
    found, seen = learned(spec, p, w, logits)
    _, hard = learned(spec, y, w, logits)
    alpha_bar = spec.make_schedule().alpha_bar
    for mixed, plain, level in zip(seen, hard, (alpha_bar[1], alpha_bar[-1]), strict=True):
        torch.testing.assert_close(mixed - plain, math.sqrt(level) * 0.3 * (w[other] - w[y]))
    torch.testing.assert_close(expected_embedding(logits, w), 0.7 * w[y] + 0.3 * w[other])
    # Nothing is lost where u_hat is u; the readout, which knows nothing, loses ln K.
    assert found.loss.item() == pytest.approx(math.log(10), rel=1e-5)


def test_a_label_as_shares_of_one_class_is_that_label(spec: ModelSpec) -> None:
    w, y = torch.eye(10, 6).requires_grad_(), torch.tensor([3, 1, 4])
    weight = torch.tensor([0.5, 1.5, 1.0])
    logits = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    hard, _ = learned(spec, y, w, logits, weight)
    soft, _ = learned(spec, torch.eye(10)[y], w, logits, weight)
    torch.testing.assert_close(hard.loss, soft.loss)
