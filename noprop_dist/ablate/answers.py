"""What the blocks of a network answer to one set of rows, by what they are given as z.

N rows, B rows of a batch, S noise draws, T blocks, K classes, D embedding width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noprop_dist.data import Split
from noprop_dist.data.features import seen
from noprop_dist.errors import UserError
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.network import INFERENCE_BATCH, NoPropNetwork
from noprop_dist.model.objective import Ask
from noprop_dist.use.opening import OpenRun

# What stands in the place of z: what the chain made, as in inference; noise of the same mean and
# spread; the chain's z of another picture; the label, noised as in training, which no inference can
# know.
CHAIN, NOISE, OTHER, LABEL = GIVEN = ("chain", "noise", "other", "label")

Right = npt.NDArray[np.float64]  # share of noise draws with the right answer


@dataclass(frozen=True)
class Answers:
    """How often each row was answered rightly, as a share of the noise draws.

    Attributes:
        block: by what was given, (T, N) of every block's own softmax.
        mean_softmax: by what was given, (N,) of the mean of the T softmaxes.
        z_T: (N,) of the paper's readout at the end of the chain.
    """

    block: dict[str, Right]
    mean_softmax: dict[str, Right]
    z_T: Right  # noqa: N815


def answers_of(run: OpenRun, split: Split, draws: int) -> Answers:
    """Ask every block with each thing in the place of z; what it is told else stays the same.

    The chain's noise is that of ``noprop evaluate``, so its accuracies are the same numbers.

    Args:
        run: whose network it is.
        split: labelled rows.
        draws: S.

    Raises:
        UserError: there is no other picture.
    """
    if len(split) < 2:
        raise UserError("noprop ablate needs two labelled rows or more: one has no other.")
    trained, split = run.trained, seen(run.trained.backbone, split)
    normalise, parts = trained.normalisation.on(trained.device), []
    passed = [_Passed() for _ in range(trained.network.spec.num_blocks)]
    for start in range(0, len(split), INFERENCE_BATCH):
        x, y = split.take(np.arange(start, min(start + INFERENCE_BATCH, len(split))))
        samples = normalise(torch.from_numpy(x).to(trained.device))
        labels = torch.from_numpy(y).to(trained.device)
        key = (run.seed, start // INFERENCE_BATCH)
        parts.append(_of_batch(trained.computing, samples, labels, key, draws, passed))
    block, mean, z_T = (np.concatenate(found, axis=-1) for found in zip(*parts, strict=True))  # noqa: N806
    return Answers(dict(zip(GIVEN, block, strict=True)), dict(zip(GIVEN, mean, strict=True)), z_T)


class _Passed:
    """What the chain has brought to one block so far: mean and spread of z, and the last rows'."""

    def __init__(self) -> None:
        self._count, self._sums = 0, torch.zeros(())
        self._last: Tensor | None = None

    def others(self, z: Tensor) -> Tensor:
        """Take in z (S, B, D), and give every row's the one before it; the first row's the last."""
        moments = torch.stack([z, z.square()]).double().sum(dim=(1, 2))
        self._count, self._sums = self._count + z.shape[0] * z.shape[1], self._sums + moments.cpu()
        before = z[:, -1:] if self._last is None else self._last
        self._last = z[:, -1:]
        return torch.cat([before, z[:, :-1]], dim=1)

    def alike(self, noise: Tensor) -> Tensor:
        """Standard normal noise (S, B, D), with the mean and spread of z in each dimension."""
        mean, square = self._sums / self._count
        spread = (square - mean.square()).clamp(min=0).sqrt()
        alike: Tensor = mean.to(noise) + spread.to(noise) * noise
        return alike


@torch.inference_mode()
def _of_batch(
    network: NoPropNetwork,
    x: Tensor,
    y: Tensor,
    key: tuple[int, int],
    draws: int,
    passed: list[_Passed],
) -> tuple[Right, Right, Right]:
    """(4, T, B), (4, B) and (B,): as ``Answers``, in the order of GIVEN."""
    objective, num_blocks = network.objective, network.spec.num_blocks
    shape = (len(x), network.spec.embed_dim)
    u = network.class_embed[y]

    def generator(what: str, draw: int) -> torch.Generator:
        return torch_generator(key[0], what, draw, key[1], device=x.device)

    chains = [generator("inference", draw) for draw in range(draws)]
    sources = [generator("ablation", draw) for draw in range(draws)]

    def noise(source: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=source, device=x.device)

    def step(t: int, ask: Ask, z: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
        return objective.step(t, z, network.class_embed, ask, lambda: noise(source))

    z = torch.stack([objective.begin(noise(source)) for source in chains])
    right = torch.zeros(len(GIVEN), num_blocks, len(x), device=x.device)
    probability = torch.zeros(draws, len(GIVEN), len(x), network.spec.num_classes, device=x.device)
    for t in range(1, num_blocks + 1):
        ask = network.asked(t, x)
        others = passed[t - 1].others(z)
        alike = passed[t - 1].alike(torch.stack([noise(source) for source in sources]))
        reached = []
        for draw, (chain, source) in enumerate(zip(chains, sources, strict=True)):
            z_t, said = step(t, ask, z[draw], chain)
            label = objective.entering(t, u, source)
            answers = {CHAIN: said}
            for given, stand_in in ((NOISE, alike[draw]), (OTHER, others[draw]), (LABEL, label)):
                answers[given] = step(t, ask, stand_in, source)[1]
            reached.append(z_t)
            for i, given in enumerate(GIVEN):
                right[i, t - 1] += answers[given].argmax(dim=1) == y
                probability[draw, i] += answers[given].softmax(dim=1)
        z = torch.stack(reached)
    mean = (probability.argmax(dim=3) == y).double().mean(dim=0)
    z_T = torch.stack([network.read(end).argmax(dim=1) == y for end in z])  # noqa: N806
    block = right.double() / draws
    return block.cpu().numpy(), mean.cpu().numpy(), z_T.double().mean(dim=0).cpu().numpy()
