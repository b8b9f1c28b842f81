"""What a worker says of itself; without PyTorch, for workers that do without it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from noprop_dist.engine.unit import UnitProgress

Held = TypeVar("Held")

HELD_BLOCKS = 2  # snapshots kept per unit at once, so that a block that stays is not sent again


def hold(held: "dict[int, Held]", t: int, what: "Held", units_at_once: int) -> None:
    """A worker has block t now, and forgets the oldest of too many; the executor knows it thus too.

    Args:
        held: by t, oldest first.
        t: the block; not among them.
        what: is kept of it.
        units_at_once: of the worker.
    """
    held[t] = what
    while len(held) > HELD_BLOCKS * units_at_once:
        del held[next(iter(held))]


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker is doing.

    Attributes:
        steps: training steps and evaluated batches of its life.
        progress: by t, the last report of each block since the status before.
    """

    steps: int
    progress: "dict[int, UnitProgress]"


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    node_id: str
    host: str
    pid: int


class BlockMissingError(Exception):
    """The worker does not have the snapshot that it was told to go on from."""
