"""The twin that back-propagation trains: the same T blocks in one chain, end to end (eq. 17-19).

B batch, K classes, D embedding width, T blocks. The label is never an input of anything here.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.keys import torch_generator
from noprop_dist.maths.process import expected_embedding
from noprop_dist.model.device import autocast
from noprop_dist.model.init import init_block
from noprop_dist.model.readout import init_readout, readout_logits
from noprop_dist.model.registry import make_block
from noprop_dist.model.spec import ModelSpec


def untold(spec: ModelSpec) -> ModelSpec:
    """The spec of blocks in a chain: there is no noise of which to tell them."""
    return replace(spec, objective="dt")


class TwinNetwork(nn.Module):
    """z_t = (1 - alpha_t) z_{t-1} + alpha_t u_hat_t(z_{t-1}, x) for t = 1..T, then the readout.

    u_hat_t = softmax(logits of block t) W, alpha_t = tanh(w_t) with one learned number w_t a block,
    and z_0 ~ N(0, I) anew for every batch, in training as in inference: the paper's equations begin
    with z_0 and say nothing else of it, and NoProp's chain begins so (eq. 3).

    Where the paper is silent: alpha_t starts at 1 / (t + 1), which makes z_T the plain mean of z_0
    and the T expected embeddings, so that no block begins out of the loss's reach. Blocks, W and
    readout start as those of a NoProp network of the same seed.

    Args:
        spec: what the network is made of; its noise schedule has no meaning here.
        seed: of the run; block t starts from the key (seed, "init", t).
        class_embed: W to start from, float32 (K, D).
        precision: "fp32", or "bf16" for the blocks' matrix work.
        checkpointed: of a block only its input is kept for the backward pass, which computes it
            again: the same bits in less memory.
        local: no gradient goes from a block to the one before; alpha_t is 1 / t then, so that z_t
            is the mean of what blocks 1 to t expect, without z_0.

    Attributes:
        asked: by t - 1, what is called as block t: the block, or what shares its gradients.
    """

    def __init__(
        self,
        spec: ModelSpec,
        seed: int,
        class_embed: Tensor,
        precision: str = "fp32",
        *,
        checkpointed: bool = False,
        local: bool = False,
    ) -> None:
        super().__init__()
        self.spec, self.precision = spec, precision
        self.checkpointed, self.local = checkpointed, local
        self.blocks = nn.ModuleList(
            init_block(make_block(untold(spec), t), torch_generator(seed, "init", t))
            for t in range(1, spec.num_blocks + 1)
        )
        self.asked: list[nn.Module] = list(self.blocks)
        shares = torch.arange(2, spec.num_blocks + 2, dtype=torch.float64).reciprocal()
        self.w = nn.Parameter(shares.atanh().float())
        weight, bias = init_readout(class_embed)
        self.readout_weight, self.readout_bias = nn.Parameter(weight), nn.Parameter(bias)
        trained = IS_TRAINED[spec.embedding_type]
        self.class_embed = nn.Parameter(class_embed.clone(), requires_grad=trained)

    def alpha(self) -> Tensor:
        """(T,) alpha_t = tanh(w_t), entry t - 1."""
        if self.local:
            return torch.arange(1, len(self.w) + 1, device=self.w.device).reciprocal()
        return torch.tanh(self.w)

    def chain(self, x: Tensor, z_0: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """z_T (B, D) float32, T steps of eq. 17-19 from ``z_0``.

        Args:
            x: normalised samples, float32 (B, C, H, W) in channels-last memory or (B, F).
            z_0: float32 (B, D).
            generator: draws the dropout masks in training mode, on the tensors' device.
        """
        *_, (z, _) = self.steps(x, z_0, generator)
        return z

    def steps(
        self, x: Tensor, z_0: Tensor, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """z_t (B, D) and the logits (B, K) of block t, for t = 1..T; arguments as of ``chain``."""
        z = z_0
        for block, alpha in zip(self.asked, self.alpha(), strict=True):
            logits = self._ask(block, z, x, generator).float()
            u_hat = expected_embedding(logits, self.class_embed)
            z = (1 - alpha) * z + alpha * u_hat
            yield z, logits
            if self.local:
                z = z.detach()

    def _ask(
        self, block: nn.Module, z: Tensor, x: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        def ask(z: Tensor) -> Tensor:
            with autocast(self.precision, x.device):
                logits: Tensor = block(z, x, generator)
            return logits

        if not self.checkpointed or generator is None:
            return ask(z)
        state = generator.get_state()

        def ask_again(z: Tensor) -> Tensor:
            generator.set_state(state)  # the masks of dropout are drawn again
            return ask(z)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(block)

        logits: Tensor = checkpoint(
            ask_again, z, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return logits

    def forward(self, x: Tensor, z_0: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Readout logits (B, K) of z_T; arguments as for ``chain``."""
        return self.read(self.chain(x, z_0, generator))

    def read(self, z: Tensor) -> Tensor:
        """Readout logits (B, K) of z_T (B, D)."""
        return readout_logits(
            z,
            self.readout_weight,
            self.readout_bias,
            self.class_embed,
            kind=self.spec.readout,
        )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch norm see a batch for the second time without counting it in its averages."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
