"""What a network is made of, as plain values: enough to build it again from a file."""

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from noprop_dist.maths.schedule import Schedule, make_schedule


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a NoProp network.

    Attributes:
        block: name of the block, one of BLOCKS.
        num_blocks: T.
        num_classes: K.
        embed_dim: D.
        sample_shape: (C, H, W) of an image or (F,) of a vector.
        embedding_type: "one-hot", "learned" or "prototype".
        schedule: name of the noise schedule, one of ALPHA_BARS.
        alpha_bar_min: alpha_bar[0].
        alpha_bar_max: alpha_bar[T].
        readout: "softmax" or "radial".
        dropout: probability, while training.
        objective: what a block learns, one of OBJECTIVES.
        block_loss: "mse", "ce" or "auto", the objective's own.
        overlap: share of an interval by which blocks also train on their neighbours'.
        steps_per_block: of inference, where a block has an interval of noise levels.
        solver: "euler" or "heun".
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
    block_loss: str = "auto"
    overlap: float = 0.0
    steps_per_block: int = 1
    solver: str = "euler"

    def make_schedule(self) -> Schedule:
        """The noise schedule of this network."""
        return make_schedule(
            self.schedule, self.num_blocks, lo=self.alpha_bar_min, hi=self.alpha_bar_max
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        values = asdict(self) | {"sample_shape": list(self.sample_shape)}
        # The file of a network is the same as before there was a choice.
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {k: v for k, v in values.items() if k not in usual or v != usual[k]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelSpec":
        """The inverse of ``to_dict``."""
        return cls(**(fields | {"sample_shape": tuple(fields["sample_shape"])}))
