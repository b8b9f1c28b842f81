"""The unit: train block t from step s for n steps. A pure function of what it is given.

Every random number is drawn from (seed, purpose, block, step), so the result depends neither on
where the unit runs nor on how the steps are cut into units.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.adamw import adamw

from noprop_dist import faults
from noprop_dist.data import Split, augment, normalise
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import MOMENTS, SHARED_NAMES, Shared, Snapshot
from noprop_dist.maths.keys import numpy_generator, torch_generator
from noprop_dist.model.device import autocast
from noprop_dist.model.readout import readout_logits

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


@dataclass(frozen=True)
class Unit:
    """Train one block for some steps inside one epoch.

    Attributes:
        snapshot: where to start.
        num_steps: n; the unit must not cross the end of an epoch.
        shared: class embeddings and readout to start from, or None to keep the block's own.
        lr_scale: the plateau's factor on the learning rate.
    """

    snapshot: Snapshot
    num_steps: int
    shared: Shared | None = None
    lr_scale: float = 1.0


@dataclass(frozen=True)
class UnitProgress:
    """A look into a running unit; loss and accuracy are means over the epoch so far."""

    t: int
    step: int
    loss: float
    accuracy: float
    images_per_s: float


@dataclass(frozen=True)
class UnitResult:
    """What a unit leaves.

    Attributes:
        snapshot: the block after the unit.
        progress: where it stands.
        num_images: that the unit trained on.
        started: seconds since 1970.
        seconds: that it ran.
    """

    snapshot: Snapshot
    progress: UnitProgress
    num_images: int
    started: float
    seconds: float


class NonFiniteLossError(RuntimeError):
    """A block's loss became NaN or infinite.

    Attributes:
        t: the block.
        step: the step, counted from 0.
    """

    def __init__(self, t: int, step: int) -> None:
        super().__init__(t, step)
        self.t = t
        self.step = step


def run_unit(
    unit: Unit,
    job: Job,
    train: Split,
    device: torch.device,
    *,
    on_progress: Callable[[UnitProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> UnitResult:
    """Train ``unit`` and return the block's next snapshot.

    Args:
        unit: what to train.
        job: the run.
        train: the training split; only read.
        device: where to compute.
        on_progress: told every few steps.
        should_stop: asked after every step; the unit then ends early, at a step that can be gone on
            from.

    Raises:
        NonFiniteLossError: the loss is NaN or infinite; nothing of the unit is kept.
    """
    started, start = time.time(), time.perf_counter()
    live = LiveBlock(job, unit, device)
    first = unit.snapshot.step
    epoch, offset = divmod(first, job.steps_per_epoch)
    order = epoch_order(job, unit.snapshot.t, epoch, len(train))
    batch_size = job.config.batch_size
    recent: list[Tensor] = []
    for step in range(first, first + unit.num_steps):
        where = (offset + step - first) * batch_size
        x, y = train.take(order[where : where + batch_size])
        recent.append(live.train_step(torch.from_numpy(x), torch.from_numpy(y), step))
        faults.reach("unit", block=live.t, step=step + 1)
        stopped = should_stop()
        if len(recent) == CHECK_EVERY or stopped or step == first + unit.num_steps - 1:
            live.check_losses(recent, step)
            recent.clear()
            done = (step + 1 - first) * batch_size
            on_progress(live.progress(step + 1, done / (time.perf_counter() - start)))
        if stopped:
            break
    live.check_weights(step)
    snapshot = live.snapshot(step + 1)
    num_images, seconds = (step + 1 - first) * batch_size, time.perf_counter() - start
    progress = live.progress(step + 1, num_images / seconds)
    return UnitResult(snapshot, progress, num_images, started, seconds)


def epoch_order(job: Job, t: int, epoch: int, num_images: int) -> npt.NDArray[np.int64]:
    """Rows of the training split in the order block t sees them in ``epoch`` (0-based)."""
    return numpy_generator(job.config.seed, "order", t, epoch).permutation(num_images)


class LiveBlock:
    """A block on its device, with its own copy of the shared part and its optimiser."""

    def __init__(self, job: Job, unit: Unit, device: torch.device) -> None:
        snapshot = unit.snapshot
        spec, config = job.spec, job.config
        self.job, self.device, self.t = job, device, snapshot.t
        self.lr_scale = unit.lr_scale
        self.learns = job.learns_embedding(snapshot.step // job.steps_per_epoch)
        self.objective = spec.make_objective()
        self.weight = self.objective.weight(self.t, config.eta)
        block = spec.make_block().to_empty(device=device)
        block = block.to(memory_format=torch.channels_last)
        block.load_state_dict(snapshot.part("block"))
        self.block = block.train()
        source = unit.shared if unit.shared is not None else snapshot.part("shared")
        self.shared = {k: source[k].to(device, copy=True) for k in SHARED_NAMES}
        for name, tensor in self.shared.items():
            tensor.requires_grad_(name != "class_embed" or self.learns)
        self.ema = {k: v.to(device, copy=True) for k, v in snapshot.part("ema").items()}
        self.tally = snapshot.tensors["tally"].to(device, copy=True)
        if snapshot.step % job.steps_per_epoch == 0:
            self.tally.zero_()
        self._start_optimizer(snapshot)

    def _start_optimizer(self, snapshot: Snapshot) -> None:
        self.params: dict[str, Tensor] = {f"block.{k}": p for k, p in self.block.named_parameters()}
        self.params |= {f"shared.{k}": p for k, p in self.shared.items()}
        self.moments = {
            m: {
                # A file holds contiguous tensors. The fused optimiser walks parameter and moments
                # in memory order, so a moment must lie in memory as its parameter does.
                k: torch.empty_like(p, requires_grad=False).copy_(snapshot.tensors[f"{m}.{k}"])
                for k, p in self.params.items()
            }
            for m in MOMENTS
        }
        trained = [k for k, p in self.params.items() if p.requires_grad]
        self.trained = [self.params[k] for k in trained]
        self.exp_avgs, self.exp_avg_sqs = ([self.moments[m][k] for k in trained] for m in MOMENTS)
        self.steps = [torch.tensor(float(snapshot.step), device=self.device) for _ in trained]

    def _update(self, lr: float) -> None:
        """AdamW on every trained parameter.

        As a function on our own moments: constructing ``torch.optim.AdamW`` imports PyTorch's
        compiler, a second and a half and 150 MB of every worker.
        """
        grads = [p.grad for p in self.trained if p.grad is not None]
        assert len(grads) == len(self.trained)
        with torch.no_grad():
            adamw(
                self.trained,
                grads,
                exp_avgs=self.exp_avgs,
                exp_avg_sqs=self.exp_avg_sqs,
                max_exp_avg_sqs=[],
                state_steps=self.steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=self.job.config.weight_decay,
                eps=1e-8,
                maximize=False,
            )

    def train_step(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """One step of Algorithm 1 for this block.

        Args:
            x: raw samples of the batch, uint8 (B, C, H, W) or float32 (B, F).
            y: int64 (B,).
            step: 0-based over the run; the key of the step's randomness.

        Returns:
            The step's loss, a scalar on the device.
        """
        job, seed = self.job, self.job.config.seed
        x, y = x.to(self.device), y.to(self.device)
        draw = torch_generator(seed, "step", self.t, step, device=self.device)
        if job.config.augmentation != "none":
            x = augment(x, job.config.augmentation, job.flip, draw)
        x = normalise(x, job.normalisation)

        def ask(z: Tensor, level: Tensor | None) -> Tensor:
            with autocast(job.precision, self.device):
                logits: Tensor = self.block(z, x, draw, level)
            return logits.float()

        loss, logits = self.objective.loss(
            self.t,
            y,
            self.shared["class_embed"],
            ask,
            self._read,
            eta=job.config.eta,
            generator=draw,
        )
        for p in self.params.values():
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if job.config.grad_clip is not None:
            # Relative to the loss's weight, or the late blocks alone would be clipped.
            torch.nn.utils.clip_grad_norm_(
                self.block.parameters(), job.config.grad_clip * self.weight
            )
        self._update(job.lr(step) * self.lr_scale)
        self._average_weights(step)
        right = (logits.argmax(dim=1) == y).sum()
        # Step by step, so that the sum does not depend on where units were cut.
        self.tally += torch.stack(
            [loss.detach().double() * len(y), right.double(), self.tally.new_tensor(len(y))]
        )
        return loss.detach()

    def _read(self, z: Tensor) -> Tensor:
        weight, bias = self.shared["readout_weight"], self.shared["readout_bias"]
        kind = self.job.spec.readout
        return readout_logits(z, weight, bias, self.shared["class_embed"], kind=kind)

    @torch.no_grad()
    def _average_weights(self, step: int) -> None:
        if self.job.config.ema_decay is not None:
            # A short memory first: the average must not hold on to where training began.
            decay = min(self.job.config.ema_decay, (1 + step) / (10 + step))
            for name, p in self.block.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)

    def check_losses(self, recent: list[Tensor], last_step: int) -> None:
        """Look at the losses of the latest steps, the last of them ``last_step``.

        Raises:
            NonFiniteLossError: one of them is NaN or infinite.
        """
        bad = (~torch.stack(recent).isfinite()).nonzero()
        if len(bad):
            raise NonFiniteLossError(self.t, last_step + 1 - len(recent) + int(bad[0]))

    def check_weights(self, last_step: int) -> None:
        """Look at what the last update left, whose loss is never computed.

        Raises:
            NonFiniteLossError: a weight is NaN or infinite.
        """
        sums = torch.stack([p.detach().sum() for p in self.params.values()])
        if not bool(sums.isfinite().all()):
            raise NonFiniteLossError(self.t, last_step)

    def progress(self, step: int, images_per_s: float) -> UnitProgress:
        """Where the block stands after ``step`` steps."""
        loss, right, images = self.tally.tolist()
        return UnitProgress(self.t, step, loss / images, right / images, images_per_s)

    def snapshot(self, step: int) -> Snapshot:
        """Everything on the CPU; the live block's own tensors if it is there: its last act."""
        tensors = {f"block.{k}": v for k, v in self.block.state_dict().items()}
        tensors |= {f"shared.{k}": v for k, v in self.shared.items()}
        for m in MOMENTS:
            tensors |= {f"{m}.{k}": v for k, v in self.moments[m].items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        tensors["tally"] = self.tally
        return Snapshot(self.t, step, {k: v.detach().cpu() for k, v in tensors.items()})
