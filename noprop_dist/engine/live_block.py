"""A block on its device while it trains: its step, its optimiser, and what it has seen so far."""

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from noprop_dist.data import augment, normalise
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import MOMENTS, SHARED_NAMES, Shared, Snapshot
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.device import autocast
from noprop_dist.model.init import materialise
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.registry import make_block, make_objective


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


class LiveBlock:
    """A block on its device, with its own copy of the shared part and its optimiser.

    Args:
        job: the run.
        snapshot: the block to go on from.
        device: where it computes.
        shared: class embeddings and readout to start from; None keeps the block's own.
        lr_scale: what feedback has made of the learning rate.
    """

    def __init__(
        self,
        job: Job,
        snapshot: Snapshot,
        device: torch.device,
        *,
        shared: Shared | None = None,
        lr_scale: float = 1.0,
    ) -> None:
        spec, config = job.spec, job.config
        self.job, self.device, self.t = job, device, snapshot.t
        self.lr_scale = lr_scale
        self.learns = job.learns_embedding(snapshot.step // job.steps_per_epoch)
        self.objective = make_objective(spec)
        self.weight = self.objective.weight(self.t, config.eta)
        block = materialise(make_block(spec, snapshot.t), device, torch.channels_last)
        block.load_state_dict(snapshot.part("block"))
        self.block = block.train()
        source = shared if shared is not None else snapshot.part("shared")
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
        self.steps = {k: torch.tensor(float(snapshot.step), device=self.device) for k in trained}

    def _update(self, lr: float) -> None:
        """AdamW on every trained parameter that has a gradient.

        As a function on our own moments: constructing ``torch.optim.AdamW`` imports PyTorch's
        compiler, a second and a half and 150 MB of every worker.
        """
        grads = {k: g for k in self.steps if (g := self.params[k].grad) is not None}
        with torch.no_grad():
            adamw(
                [self.params[k] for k in grads],
                list(grads.values()),
                exp_avgs=[self.moments["exp_avg"][k] for k in grads],
                exp_avg_sqs=[self.moments["exp_avg_sq"][k] for k in grads],
                max_exp_avg_sqs=[],
                state_steps=[self.steps[k] for k in grads],
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

    def means(self) -> tuple[float, float]:
        """Loss and accuracy, as means over the epoch so far."""
        loss, right, images = self.tally.tolist()
        return loss / images, right / images

    def snapshot(self, step: int) -> Snapshot:
        """Everything on the CPU; the live block's own tensors if it is there: its last act."""
        tensors = {f"block.{k}": v for k, v in self.block.state_dict().items()}
        tensors |= {f"shared.{k}": v for k, v in self.shared.items()}
        for m in MOMENTS:
            tensors |= {f"{m}.{k}": v for k, v in self.moments[m].items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        tensors["tally"] = self.tally
        return Snapshot(self.t, step, {k: v.detach().cpu() for k, v in tensors.items()})
