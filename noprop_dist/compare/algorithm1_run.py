"""Algorithm 1 as printed, on a run's blocks and data: block after block, in one process."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from noprop_dist.data import Split, augment, normalise
from noprop_dist.engine.evaluate import Weights
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import Shared, first_shared
from noprop_dist.engine.unit import epoch_order
from noprop_dist.maths.algorithm1 import Algorithm1, Batch
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.device import autocast
from noprop_dist.model.init import init_block
from noprop_dist.model.registry import make_block

CPU = torch.device("cpu")


class _Cast(nn.Module):
    """A block whose matrix work is in the run's precision, as the engine's is."""

    def __init__(self, block: nn.Module, job: Job, device: torch.device) -> None:
        super().__init__()
        self.block, self.job, self.device = block, job, device
        self.draw = torch.default_generator
        if device.type == "cuda":
            self.draw = torch.cuda.default_generators[device.index or 0]

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        with autocast(self.job.precision, self.device):
            logits: Tensor = self.block(z, x, self.draw)
        return logits.float()


def make_algorithm(job: Job, class_embed: Tensor, device: torch.device = CPU) -> Algorithm1:
    """A run's network before its first step, under Algorithm 1; seeds PyTorch's own generators.

    Args:
        job: the run; its blocks start as they do in the engine.
        class_embed: W to start from, float32 (K, D).
        device: where to compute.
    """
    seed = job.config.seed
    torch.manual_seed(seed)
    start = first_shared(class_embed.clone())
    readout = nn.Linear(job.spec.embed_dim, job.spec.num_classes)
    with torch.no_grad():
        readout.weight.copy_(start["readout_weight"])
        readout.bias.copy_(start["readout_bias"])
    blocks = [
        _Cast(init_block(make_block(job.spec, t), torch_generator(seed, "init", t)), job, device)
        for t in range(1, job.spec.num_blocks + 1)
    ]
    w = start["class_embed"].to(device).requires_grad_(job.learns_embedding(0))
    moved = [block.to(device) for block in blocks]
    return Algorithm1(moved, w, readout.to(device), job.spec.make_schedule(), job.config.eta)


def epoch_batches(
    job: Job, train: Split, epoch: int, device: torch.device = CPU
) -> Iterator[Batch]:
    """The batches of ``epoch`` (0-based), normalised, on the device; every block takes the same."""
    config = job.config
    order, size = epoch_order(job, 0, epoch, len(train)), config.batch_size
    for step in range(job.steps_per_epoch):
        x, y = (torch.from_numpy(a) for a in train.take(order[step * size : (step + 1) * size]))
        draw = torch_generator(config.seed, "sequential", epoch, step, device=device)
        x = augment(x.to(device), job.augmentation, draw)
        yield normalise(x, job.normalisation), y.to(device)


def parts_of(algorithm: Algorithm1) -> tuple[Weights, Shared]:
    """What is trained, as the engine's evaluation takes it; the tensors themselves."""
    weights: Weights = {}
    for t, cast in enumerate(algorithm.blocks, start=1):
        assert isinstance(cast, _Cast)
        weights[t] = cast.block.state_dict()
    readout = algorithm.readout.state_dict()
    shared = {
        "class_embed": algorithm.class_embed.detach(),
        "readout_weight": readout["weight"],
        "readout_bias": readout["bias"],
    }
    return weights, shared
