"""What a worker says of itself; without PyTorch, for workers that do without it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noprop_dist.engine.unit import UnitProgress

HELD_BLOCKS = 2  # snapshots kept per unit at once, so that a block that stays is not sent again


@dataclass(frozen=True)
class Look:
    """What a worker is doing.

    Attributes:
        steps: training steps and evaluated batches of its life.
        progress: by t, the last report of each block since the look before.
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
