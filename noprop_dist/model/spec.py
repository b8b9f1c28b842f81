"""What a network is made of, as plain values: enough to build it again from a file."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from noprop_dist.maths.schedule import Schedule, make_schedule, schedule_from_alpha_bar


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a NoProp network.

    Attributes:
        block: name of the block, one of BLOCKS.
        num_blocks: T.
        num_classes: K.
        embed_dim: D.
        sample_shape: (C, H, W) of an image or (F,) of a vector.
        embedding_type: "one-hot", "learned", "prototype" or "own".
        schedule: name of the noise schedule, one of ALPHA_BARS, or "own".
        alpha_bar_min: alpha_bar[0].
        alpha_bar_max: alpha_bar[T].
        readout: "softmax" or "radial".
        dropout: probability, while training.
        objective: what a block learns, one of OBJECTIVES.
        alpha_bar: (T + 1) numbers of an own noise schedule.
    """

    block: str
    num_blocks: int
    num_classes: int
    embed_dim: int
    sample_shape: tuple[int, ...]
    embedding_type: str
    schedule: str
    alpha_bar_min: float
    alpha_bar_max: float
    readout: str
    dropout: float
    objective: str = "dt"
    alpha_bar: tuple[float, ...] | None = None

    def make_schedule(self) -> Schedule:
        """The noise schedule of this network."""
        if self.alpha_bar is not None:
            return schedule_from_alpha_bar(torch.tensor(self.alpha_bar, dtype=torch.float64))
        return make_schedule(
            self.schedule, self.num_blocks, lo=self.alpha_bar_min, hi=self.alpha_bar_max
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        values = asdict(self) | {"sample_shape": list(self.sample_shape)}
        # The file of a network is the same as before there was a choice.
        usual = {"objective": "dt", "alpha_bar": None}
        return {k: v for k, v in values.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelSpec":
        """The inverse of ``to_dict``."""
        tuples: dict[str, Any] = {
            k: tuple(fields[k]) for k in ("sample_shape", "alpha_bar") if k in fields
        }
        return cls(**(fields | tuples))
