"""What a worker says of itself; without PyTorch, for workers that do without it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from noprop_dist.record.progress import UnitProgress

Held = TypeVar("Held")

HELD_BLOCKS = 2  # snapshots kept per unit at once, so that a block that stays is not sent again


def hold(held: "dict[int, Held]", t: int, what: "Held", units_at_once: int) -> None:
    """A worker has block t now, and forgets the oldest of too many; the executor knows it thus too.

    Args:
        held: by t, oldest first.
        t: the block; not among them.
        what: is kept of it.
        units_at_once: units that the worker runs at once.
    """
    held[t] = what
    while len(held) > HELD_BLOCKS * units_at_once:
        del held[next(iter(held))]


@dataclass(frozen=True)
class Memory:
    """What a worker's process has needed so far.

    Attributes:
        peak_bytes: on a GPU the most that PyTorch had allocated there; else the most that was
            resident (VmHWM), what it maps of the object store with it.
        own_bytes: the most that was resident at once without the object store's, of what was status
            at now and then; on a GPU ``peak_bytes``.
    """

    peak_bytes: int
    own_bytes: int


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker is doing.

    Attributes:
        steps: training steps and evaluated batches of its life.
        progress: by t, the last report of each block since the look before.
        memory: that it has needed so far, where it says so.
        notes: what a user should know, since the look before.
    """

    steps: int
    progress: "dict[int, UnitProgress]"
    memory: Memory | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    node_id: str
    host: str
    pid: int


class WorkerLeavingError(Exception):
    """The worker was told to end, and takes no more work."""


class BlockMissingError(Exception):
    """The worker does not have the snapshot that it was told to go on from."""
