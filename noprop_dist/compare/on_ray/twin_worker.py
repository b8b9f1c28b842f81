"""One worker of the back-propagated twin or its kin: its share of every batch, in Ray Train.

b samples of a share, D embedding width, S noise draws.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from noprop_dist.compare.compare_options import CHECKPOINTED, LAYERWISE, SINGLE
from noprop_dist.compare.on_ray.method_run import MethodEnd, MethodEpoch, MethodTask, Said
from noprop_dist.compare.twin_network import TwinNetwork
from noprop_dist.data import Split, augment, normalise
from noprop_dist.distributed.process_usage import SentBytes, memory_of
from noprop_dist.engine.unit import epoch_order
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.network import INFERENCE_BATCH
from noprop_dist.record.checkpoint import sha256_of_tensors

MOST_PARTS = 4  # of a share, whose gradients are accumulated, where memory is to be saved


class TwinWorker:
    """One worker's part of data-parallel training; it works alone where ``world`` is 1.

    Random numbers of a step (augmentation, z_0, dropout) come from the key (seed, "twin", step,
    rank), the order of the training rows from (seed, "order", 0, epoch), z_0 of an evaluation from
    the same keys as NoProp's.

    Args:
        task: what to train.
        model: a ``TwinNetwork`` on the device, wrapped for data parallelism where there are others.
        device: where to compute.
        rank: 0..world - 1.
        world: workers.
    """

    def __init__(
        self, task: MethodTask, model: nn.Module, device: torch.device, rank: int, world: int
    ) -> None:
        self.job, self.splits = task.job, task.splits
        self.model, self.device, self.rank, self.world = model, device, rank, world
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        assert isinstance(inner, TwinNetwork)
        self.network, self.num_parts = inner, 1
        if task.method == CHECKPOINTED:
            share = task.job.config.batch_size // world
            self.num_parts = max(1, min(MOST_PARTS, share // 2))  # batch norm needs two samples
        config = task.job.config
        self.optimizer = torch.optim.AdamW(
            [p for p in inner.parameters() if p.requires_grad],
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def train_epoch(self, epoch: int) -> float:
        """Train ``epoch`` (0-based) on this worker's share of every batch; the mean loss of all."""
        job, size = self.job, self.job.config.batch_size
        share = size // self.world
        order = epoch_order(job, 0, epoch, len(self.splits.train))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.model.train()
        for step in range(job.steps_per_epoch):
            first = step * size + self.rank * share
            x, y = self.splits.train.take(order[first : first + share])
            number = epoch * job.steps_per_epoch + step
            total += self.train_step(torch.from_numpy(x), torch.from_numpy(y), number)
        self._sum_over_workers(total)
        self._average_buffers()
        return float(total) / (job.steps_per_epoch * self.world)

    def train_step(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        """One step of AdamW on the method's loss; that of this share, a scalar.

        Args:
            x: raw samples of the share, uint8 (b, C, H, W) or float32 (b, F).
            y: int64 (b,).
            step: 0-based over the run.
        """
        job, config = self.job, self.job.config
        x, y = x.to(self.device), y.to(self.device)
        draw = torch_generator(config.seed, "twin", step, self.rank, device=self.device)
        x = normalise(augment(x, job.augmentation, draw), job.normalisation)
        z_0 = torch.randn(len(x), job.spec.embed_dim, generator=draw, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = job.lr(step)
        self.optimizer.zero_grad()
        backward = self._backward_locally if self.network.local else self._backward
        loss = backward(x, y, z_0, draw)
        self.optimizer.step()
        return loss

    def _backward(self, x: Tensor, y: Tensor, z_0: Tensor, draw: torch.Generator) -> Tensor:
        """Gradients of the cross-entropy at z_T, part by part; the share's mean."""
        model, total = self.model, torch.zeros((), device=self.device)
        chunks = [values.chunk(self.num_parts) for values in (x, y, z_0)]
        for number, (part, labels, noise) in enumerate(zip(*chunks, strict=True), start=1):
            # Workers meet once a step, with the last part.
            shared = isinstance(model, DistributedDataParallel) and number < len(chunks[0])
            with model.no_sync() if shared else nullcontext():  # type: ignore[operator]
                loss = F.cross_entropy(model(part, noise, draw), labels) * (len(labels) / len(y))
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _backward_locally(self, x: Tensor, y: Tensor, z_0: Tensor, draw: torch.Generator) -> Tensor:
        """Gradients of each block's own cross-entropy before the next is asked; their mean."""
        total = torch.zeros((), device=self.device)
        for _, logits in self.network.steps(x, z_0, draw):
            loss = F.cross_entropy(logits, y)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total / len(self.network.blocks)

    @torch.inference_mode()
    def accuracies(self, split: Split, num_draws: int) -> tuple[list[float], list[float]]:
        """(S,) accuracies by noise draw, of z_T and of the mean of the blocks' softmaxes.

        The workers share the batches of the split.
        """
        self.network.eval()
        right = torch.zeros(2, num_draws, dtype=torch.int64, device=self.device)
        starts = range(0, len(split), INFERENCE_BATCH)
        for index in range(self.rank, len(starts), self.world):
            rows = np.arange(starts[index], min(starts[index] + INFERENCE_BATCH, len(split)))
            x, y = (torch.from_numpy(array).to(self.device) for array in split.take(rows))
            x = normalise(x, self.job.normalisation)
            for s in range(num_draws):
                seed = self.job.config.seed
                draw = torch_generator(seed, "inference", s, index, device=self.device)
                z_0 = torch.randn(
                    len(x), self.job.spec.embed_dim, generator=draw, device=self.device
                )
                steps = list(self.network.steps(x, z_0))
                softmaxes = torch.stack([logits for _, logits in steps]).softmax(dim=2)
                for place, said in enumerate((self.network.read(steps[-1][0]), softmaxes.sum(0))):
                    right[place, s] += (said.argmax(dim=1) == y).sum()
        self._sum_over_workers(right)
        z_T, mean = ([n / len(split) for n in counts] for counts in right.tolist())  # noqa: N806
        return z_T, mean

    @torch.no_grad()
    def _average_buffers(self) -> None:
        """One set of batch-norm statistics: the mean of what the workers' shares gave."""
        buffers = [b for b in self.network.buffers() if b.is_floating_point()]
        if not buffers:  # blocks without batch norm
            return
        vector = parameters_to_vector(buffers)
        self._sum_over_workers(vector)
        vector_to_parameters(vector / self.world, buffers)

    def _sum_over_workers(self, values: Tensor) -> None:
        if self.world > 1:
            dist.all_reduce(values)


def run_worker(task: MethodTask, tell: Callable[[Said], None]) -> None:
    """A worker's whole life, inside a worker of Ray Train.

    Args:
        task: what to train.
        tell: takes what there is to say.
    """
    job, context = task.job, ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    memory_of(device)  # watched from here on
    torch.set_num_threads(job.config.cpus_per_worker)  # kept per calling thread
    class_embed = torch.tensor(task.class_embed)
    network = TwinNetwork(
        job.spec,
        job.config.seed,
        class_embed,
        job.precision,
        checkpointed=task.method == CHECKPOINTED,
        local=task.method in (LAYERWISE, SINGLE),
    )
    reduced: Counter[str] = Counter()
    model = _shared_by_workers(network.to(device), reduced)
    if world > 1:
        dist.barrier()
    worker = TwinWorker(task, model, device, rank, world)
    start, sent = time.perf_counter(), SentBytes()
    for epoch in range(job.config.epochs):
        loss = worker.train_epoch(epoch)
        has_val = len(task.splits.val) > 0
        val = worker.accuracies(task.splits.val, 1)[0][0] if has_val else None
        seconds = time.perf_counter() - start
        counted = sent.take(), reduced.pop("bytes", 0)
        tell(MethodEpoch(rank, epoch + 1, seconds, val, loss, *counted))
        if not np.isfinite(loss):  # the same number in every worker: all of them leave
            return
    accuracies = worker.accuracies(task.splits.test, task.num_draws)
    tell(MethodEnd(rank, *accuracies, memory_of(device), sha256_of_tensors(network.state_dict())))


def _shared_by_workers(network: TwinNetwork, reduced: Counter[str]) -> nn.Module:
    """What is called in the network's place, which averages gradients over the workers.

    Args:
        network: on the device.
        reduced: counts the bytes of gradients.
    """
    # Batch-norm statistics are averaged once an epoch here, not sent before every step.
    prepare = partial(
        ray.train.torch.prepare_model, parallel_strategy_kwargs={"broadcast_buffers": False}
    )
    if network.local:  # a block's gradients are there before the next one is asked
        network.asked = shared = [prepare(block) for block in network.blocks]
    else:
        shared = [prepare(network)]
    for part in shared:
        if isinstance(part, DistributedDataParallel):
            part.register_comm_hook(reduced, _count_and_reduce)
    return network if network.local else shared[0]


def _count_and_reduce(
    counted: Counter[str],
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """What PyTorch does without a hook, with a bucket of gradients, counted."""
    counted["bytes"] += bucket.buffer().nbytes
    world = dist.group.WORLD
    assert world is not None
    return allreduce_hook(world, bucket)
