"""A worker: one device, the data read in place, and the blocks it has trained last."""

import os
import platform
import threading
import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import ray
import torch

from noprop_dist import faults
from noprop_dist.distributed.process_usage import memory_of
from noprop_dist.distributed.worker_status import (
    BlockMissingError,
    Place,
    WorkerLeavingError,
    WorkerStatus,
    hold,
)
from noprop_dist.engine.evaluate import EvalUnit, Weights
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import Result, UnitRunner, Work
from noprop_dist.engine.snapshot import Shared, Snapshot
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.errors import UserError
from noprop_dist.model.device import resolve_device
from noprop_dist.record.progress import UnitProgress
from noprop_dist.signals import when_terminated


class BlockWorker:
    """Runs units; its status and stops are served meanwhile, by other threads.

    A plain class, tested as such; ``Worker`` is what Ray runs.

    Args:
        job: the run.
        splits: its data; arrays of the object store, read in place.
        device: "cpu", or "cuda" for the GPU that Ray made visible here.
    """

    def __init__(self, job: Job, splits: Splits, device: str) -> None:
        self._stop, self._leaving = threading.Event(), threading.Event()
        if ray.is_initialized():
            send_tensors_as_arrays()
            when_terminated(self.leave)
        faults.arm(job.faults)
        self._job, self._splits = job, splits
        try:
            self._device = resolve_device(device)
        except UserError as error:
            raise RuntimeError(
                f"Ray has a GPU on {platform.node()} that PyTorch cannot use there: install a "
                "PyTorch for its CUDA, or give --device cpu"
            ) from error
        self._notes: list[str] = []
        self._runner = UnitRunner(
            job,
            splits,
            self._device,
            at_once=job.config.blocks_per_worker or 1,
            note=self._notes.append,
        )
        self._held: dict[int, Snapshot] = {}
        self._lock = threading.Lock()
        self._steps = 0
        self._progress: dict[int, UnitProgress] = {}

    @ray.method
    def place(self) -> Place:
        """Where this is; an answer means that the worker is ready."""
        return Place(ray.get_runtime_context().get_node_id(), platform.node(), os.getpid())

    @ray.method
    def status(self) -> WorkerStatus:
        """What it has done since the last look."""
        with self._lock:
            progress, self._progress = self._progress, {}
            notes = tuple(self._notes)
            del self._notes[: len(notes)]
            return WorkerStatus(self._steps, progress, memory_of(self._device), notes)

    @ray.method
    def stop(self) -> None:
        """End training units at their next step, from now on."""
        self._stop.set()

    def leave(self) -> None:
        """Hand units back at their next step and take no more: this process will be gone soon."""
        self._leaving.set()
        self._stop.set()

    @ray.method
    def run(self, work: Work, network: tuple[Weights, Shared] | None = None) -> Result:
        """Train, evaluate, or time a block.

        Args:
            work: a training unit's snapshot may come without tensors where the worker has them.
            network: what an evaluation is of, which many of them share in the store.

        Raises:
            BlockMissingError: the worker does not have the tensors.
            WorkerLeavingError: it takes no more work.
            WorkFailedError: see ``UnitRunner.run``.
        """
        if self._leaving.is_set():
            raise WorkerLeavingError("it was told to end")
        torch.set_num_threads(self._job.config.cpus_per_worker)  # kept per calling thread
        if isinstance(work, Unit):
            return self._train(work)
        if isinstance(work, EvalUnit):
            assert network is not None
            weights, shared = network
            work = replace(work, weights=weights, shared=shared)
        return self._runner.run(work, on_batch=self._count_and_ask)

    def _train(self, unit: Unit) -> UnitResult:
        wanted = unit.snapshot
        with self._lock:
            held = self._held.pop(wanted.t, None)
        if not wanted.tensors:
            if held is None or held.step != wanted.step:
                raise BlockMissingError(f"block {wanted.t} at step {wanted.step} is not here")
            unit = replace(unit, snapshot=held)
        result = self._runner.run(unit, self._note, self._count_and_ask)
        assert isinstance(result, UnitResult)
        with self._lock:
            hold(self._held, wanted.t, result.snapshot, self._job.config.blocks_per_worker or 1)
        return result

    def _note(self, progress: UnitProgress) -> None:
        with self._lock:
            self._progress[progress.t] = progress

    def _count_and_ask(self) -> bool:
        with self._lock:
            self._steps += 1
        return self._stop.is_set()


Worker = ray.remote(BlockWorker)


def send_tensors_as_arrays() -> None:
    """From now on tensors leave and enter this process as NumPy arrays, which Ray maps in place.

    Ray's own way copies a tensor several times. A tensor that comes in is read-only memory of the
    object store: it must never be written to. To be called in every process that takes part.
    """
    ray.util.register_serializer(torch.Tensor, serializer=_to_array, deserializer=_read_in_place)


def _to_array(tensor: torch.Tensor) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = tensor.detach().cpu().contiguous().numpy()
    return array


def _read_in_place(array: npt.NDArray[np.generic]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
