"""A worker: one device, the data read in place, and the blocks it has trained last."""

import os
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import ray
import torch

from noprop_dist.engine.evaluate import EvalResult, EvalUnit, Weights, run_eval
from noprop_dist.engine.executor import WorkFailedError, explain
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.snapshot import Shared, Snapshot
from noprop_dist.engine.unit import NonFiniteLossError, Unit, UnitProgress, UnitResult, run_unit
from noprop_dist.model.device import resolve_device

HELD_BLOCKS = 2  # snapshots kept here, so that a block that stays need not be sent again


@dataclass(frozen=True)
class Look:
    """What a worker is doing: steps and evaluated batches of its life, and its last report."""

    steps: int
    progress: UnitProgress | None


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    node_id: str
    pid: int


class BlockMissingError(Exception):
    """The worker does not have the snapshot that it was told to go on from."""


class BlockWorker:
    """Runs units one at a time; looks and stops are served meanwhile, by other threads.

    A plain class, tested as such; ``Worker`` is what Ray runs.

    Args:
        job: the run.
        splits: its data; arrays of the object store, read in place.
        device: "auto" takes the GPU that Ray made visible here, if any.
        threads: CPU threads of a unit; part of what fixes the bits.
    """

    def __init__(self, job: Job, splits: Splits, device: str, threads: int) -> None:
        if ray.is_initialized():
            send_tensors_as_arrays()
        self._job, self._splits, self._threads = job, splits, threads
        self._device = resolve_device(device)
        self._held: OrderedDict[int, Snapshot] = OrderedDict()
        self._stop = threading.Event()
        self._steps = 0
        self._progress: UnitProgress | None = None

    @ray.method
    def place(self) -> Place:
        """Where this is; an answer means that the worker is ready."""
        return Place(ray.get_runtime_context().get_node_id(), os.getpid())

    @ray.method
    def look(self) -> Look:
        """What it is doing now."""
        return Look(self._steps, self._progress)

    @ray.method
    def stop(self) -> None:
        """End training units at their next step, from now on."""
        self._stop.set()

    @ray.method
    def train(self, unit: Unit) -> UnitResult:
        """Train a unit; its snapshot may come without tensors where the worker has them.

        Raises:
            BlockMissingError: the worker does not have them.
            WorkFailedError: the loss is not finite, or memory is not enough.
        """
        torch.set_num_threads(self._threads)  # OpenMP keeps it per calling thread
        wanted = unit.snapshot
        held = self._held.pop(wanted.t, None)
        if not wanted.tensors:
            if held is None or held.step != wanted.step:
                raise BlockMissingError(f"block {wanted.t} at step {wanted.step} is not here")
            unit = replace(unit, snapshot=held)
        try:
            result = run_unit(
                unit,
                self._job,
                self._splits.train,
                self._device,
                on_progress=self._note,
                should_stop=self._count_and_ask,
            )
        except (NonFiniteLossError, torch.OutOfMemoryError, MemoryError) as error:
            raise WorkFailedError(explain(error)) from None
        self._held[wanted.t] = result.snapshot
        while len(self._held) > HELD_BLOCKS:
            self._held.popitem(last=False)
        return result

    @ray.method
    def evaluate(self, unit: EvalUnit, network: tuple[Weights, Shared]) -> EvalResult:
        """Evaluate some rows of a split with a network that many units share in the store."""
        torch.set_num_threads(self._threads)
        weights, shared = network
        unit = replace(unit, weights=weights, shared=shared)
        split = getattr(self._splits, unit.split)
        return run_eval(unit, self._job, split, self._device, on_batch=self._count_and_ask)

    def _note(self, progress: UnitProgress) -> None:
        self._progress = progress

    def _count_and_ask(self) -> bool:
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
