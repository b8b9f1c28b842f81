"""A block on its device while it trains: its step, its optimiser, and what it has seen so far."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from noprop_dist.data import augment
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import Shared, Snapshot
from noprop_dist.maths.keys import key
from noprop_dist.maths.rule import Parameters, Rule
from noprop_dist.model.device import autocast
from noprop_dist.model.init import materialise
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.registry import make_block, make_objective

Replay = Callable[[], object]  # does the recorded step again, on the batch that lies ready
# Records a step: what does it again, or None where it cannot be, with the reason told elsewhere.
Recorder = Callable[["LiveBlock"], Replay | None]


class LiveBlock:
    """A block on its device, with its own copy of the shared part and its optimiser.

    A step is operations on tensors alone: nothing in it looks at a value or brings one from the
    host, and every step does the same operations, so that one can be recorded and replayed. What
    changes from step to step lies in tensors that it reads: the batch, the learning rate, the
    average's share and the counters. Its randomness is the generator's, seeded before it.

    Args:
        job: the run.
        snapshot: the block to go on from; its tensors are copied.
        device: where it computes.
        recorder: records the step once the first batch is there; None computes every step anew.

    Attributes:
        step: steps taken.
        loss: of the latest step, a scalar on the device that the next one overwrites.
    """

    def __init__(
        self,
        job: Job,
        snapshot: Snapshot,
        device: torch.device,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        spec, config = job.spec, job.config
        self.job, self.device, self.t, self.step = job, device, snapshot.t, snapshot.step
        self.lr_scale = 1.0
        self.learns = job.learns_embedding(snapshot.step // job.steps_per_epoch)
        self.objective = make_objective(spec)
        self.weight = self.objective.weight(self.t, config.eta)
        self.clip_at = (config.grad_clip or math.inf) * self.weight
        block = materialise(make_block(spec, snapshot.t), device, torch.channels_last)
        block.load_state_dict(snapshot.part("block"))
        self.block = block.train()
        self.shared = {k: v.to(device, copy=True) for k, v in snapshot.part("shared").items()}
        for name, tensor in self.shared.items():
            tensor.requires_grad_(name != "class_embed" or self.learns)
        self.ema = {k: v.to(device, copy=True) for k, v in snapshot.part("ema").items()}
        self.tally = snapshot.tensors["tally"].to(device, copy=True)
        self.normalise = job.normalisation.on(device)
        self.mix = job.mixing.on(device)
        self.draw = torch.Generator(device)
        self._make_inputs()
        self._start_optimizer(snapshot)
        self._recorder = recorder
        self._replay: Replay | None = None

    def _make_inputs(self) -> None:
        """What a step reads beside the batch, and the numbers that it keeps."""
        number = torch.zeros((), dtype=torch.float64, device=self.device)
        # The fused kernels read the rate in float32 on a GPU and in float64 on a CPU.
        rate = torch.float64 if self.device.type == "cpu" else torch.float32
        self.lr, self.ema_share = number.to(rate), number.to(torch.float32)
        self.loss = number.to(torch.float32)
        self.clock = torch.full_like(number, self.step)
        self.first_bad = torch.full_like(number, math.inf)  # step whose loss was not finite
        self.never = torch.full_like(number, math.inf)
        self.step_size = torch.full_like(number, self.job.step_size)
        # What a part's loss counts in the step's.
        self.part_share = torch.full_like(self.loss, 1 / self.job.config.accumulate)

    def _start_optimizer(self, snapshot: Snapshot) -> None:
        self.params: dict[str, Tensor] = {f"block.{k}": p for k, p in self.block.named_parameters()}
        self.params |= {f"shared.{k}": p for k, p in self.shared.items()}
        rules = {k: self.job.rule(k, p.dim()) for k, p in self.params.items()}
        self.moments = {
            # A file holds contiguous tensors. The fused optimiser walks parameter and moments in
            # memory order, so a moment must lie in memory as its parameter does.
            f"{m}.{k}": torch.empty_like(p, requires_grad=False).copy_(snapshot.tensors[f"{m}.{k}"])
            for k, p in self.params.items()
            for m in rules[k].state
        }
        trained = [k for k, p in self.params.items() if p.requires_grad]
        self.steps = {k: torch.tensor(float(snapshot.step), device=self.device) for k in trained}
        self.trained_by: dict[Rule, list[str]] = {}
        for k in trained:
            self.trained_by.setdefault(rules[k], []).append(k)

    def begin(self, shared: Shared | None, lr_scale: float) -> None:
        """Begin a unit.

        Args:
            shared: class embeddings and readout to start from; None keeps the block's own.
            lr_scale: what feedback has made of the learning rate.
        """
        self.lr_scale = lr_scale
        with torch.no_grad():
            for name, values in (shared or {}).items():
                self.shared[name].copy_(values)
        if self.step % self.job.steps_per_epoch == 0:
            self.tally.zero_()

    def train_step(self, x: Tensor, y: Tensor) -> Tensor:
        """One step of Algorithm 1 for this block.

        Args:
            x: raw samples of the batch on the device, uint8 (B, C, H, W) or float32 (B, F).
            y: int64 (B,) on the device.

        Returns:
            The step's loss, a scalar on the device, until the next step.
        """
        job, step = self.job, self.step
        if self._recorder is not None:
            self.x, self.y = x.clone(), y.clone()
            self._replay, self._recorder = self._recorder(self), None
        self.draw.manual_seed(key(job.config.seed, "step", self.t, step))
        self.lr.fill_(job.lr(step, self.lr_scale))
        if job.config.ema_decay is not None:
            # A short memory first: the average must not hold on to where training began.
            self.ema_share.fill_(1 - min(job.config.ema_decay, (1 + step) / (10 + step)))
        if self._replay is None:
            self.compute(x, y)
        else:
            self.x.copy_(x)
            self.y.copy_(y)
            self._replay()
        self.step += 1
        return self.loss

    def compute(self, x: Tensor, y: Tensor) -> None:
        """The operations of a step, arguments as of ``train_step``."""
        config = self.job.config
        for p in self.params.values():
            p.grad = None
        losses, right = [], []
        parts = (batch.chunk(config.accumulate) for batch in (x, y))
        for x_part, y_part in zip(*parts, strict=True):
            loss, found = self.forward(x_part, y_part)
            # A gradient that is given would make PyTorch import sympy, in every worker.
            (loss * self.part_share).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            right.append(found)
        if config.grad_clip is not None:
            # Relative to the loss's weight, or the late blocks alone would be clipped.
            torch.nn.utils.clip_grad_norm_(self.block.parameters(), self.clip_at)
        with torch.no_grad():
            self._update()
            for name, average in self.ema.items():
                average.lerp_(self.params[f"block.{name}"], self.ema_share)
            self._count(sum(losses[1:], losses[0]) * self.part_share, sum(right[1:], right[0]))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch or a part of one, and its right answers; as of ``train_step``."""
        job = self.job
        x = self.normalise(augment(x, job.augmentation, self.draw))
        samples = self.mix(x, y, self.draw)

        def ask(z: Tensor, level: Tensor | None) -> Tensor:
            with autocast(job.precision, self.device):
                logits: Tensor = self.block(z, samples.x, self.draw, level)
            return logits.float()

        w = self.shared["class_embed"]
        loss, logits = self.objective.loss(
            self.t,
            samples.y,
            w,
            ask,
            self._read,
            eta=job.config.eta,
            generator=self.draw,
            weight=samples.weight,
        )
        return loss, (logits.argmax(dim=1) == samples.likeliest).sum()

    def _read(self, z: Tensor) -> Tensor:
        weight, bias = self.shared["readout_weight"], self.shared["readout_bias"]
        kind = self.job.spec.readout
        return readout_logits(z, weight, bias, self.shared["class_embed"], kind=kind)

    def _update(self) -> None:
        """Every trained parameter that has a gradient, by its rule."""
        for rule, names in self.trained_by.items():
            grads = {k: g for k in names if (g := self.params[k].grad) is not None}
            params = Parameters(
                [self.params[k] for k in grads],
                list(grads.values()),
                {m: [self.moments[f"{m}.{k}"] for k in grads] for m in rule.state},
                [self.steps[k] for k in grads],
            )
            own = [g for k, g in grads.items() if k.startswith("block.")]
            if not rule.scale_free and own:
                # The weights of two blocks' losses differ by factors of thousands, and one
                # learning rate must do for all.
                torch._foreach_div_(own, self.weight)
            rule.step(params, self.lr, self.job.optimizer_settings)

    def _count(self, loss: Tensor, right: Tensor) -> None:
        self.loss.copy_(loss)
        # Step by step, so that the sum does not depend on where units were cut.
        seen = torch.stack([loss.double() * self.step_size, right.double(), self.step_size])
        self.tally += seen
        bad = torch.where(loss.isfinite(), self.never, self.clock)
        torch.minimum(self.first_bad, bad, out=self.first_bad)
        self.clock += 1

    @property
    def numbers(self) -> Tensor:
        """What a unit tells, float64 (4,) on the device.

        Loss sum, right answers and images of the epoch, and the step whose loss was the first not
        to be finite, infinity where there is none.
        """
        return torch.cat([self.tally, self.first_bad[None]])

    def is_finite(self) -> Tensor:
        """Whether all weights are, as a boolean there: no loss tells of the last update."""
        return torch.stack([p.detach().sum() for p in self.params.values()]).isfinite().all()

    def state(self) -> dict[str, Tensor]:
        """The tensors that make a snapshot, by its names: the block's own, on its device."""
        tensors = {f"block.{k}": v for k, v in self.block.state_dict().items()}
        tensors |= {f"shared.{k}": v for k, v in self.shared.items()}
        tensors |= self.moments | {f"ema.{k}": v for k, v in self.ema.items()}
        tensors["tally"] = self.tally
        return {k: v.detach() for k, v in tensors.items()}

    def changing(self) -> dict[str, Tensor]:
        """Every tensor that a step writes to, the block's own."""
        numbers = {"clock": self.clock, "first_bad": self.first_bad, "loss": self.loss}
        return self.state() | numbers | {f"steps.{k}": v for k, v in self.steps.items()}

    def snapshot(self, *, last: bool) -> Snapshot:
        """Everything; what blocks share, which is small, on the CPU, the rest where it is.

        Args:
            last: the live block's own tensors, which then must not train on; else copies.
        """
        state = self.state()
        if not last:
            state = {k: v.clone() for k, v in state.items()}
        small = {k: v.cpu() for k, v in state.items() if k.startswith("shared.") or k == "tally"}
        return Snapshot(self.t, self.step, state | small)
