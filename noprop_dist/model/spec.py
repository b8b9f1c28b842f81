"""What a network is made of, as plain values: enough to build it again from a file."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

import torch

from noprop_dist.errors import UserError
from noprop_dist.maths.schedule import Schedule, make_schedule, schedule_from_alpha_bar
from noprop_dist.model.backbone import BackboneSpec
from noprop_dist.model.block_names import is_own
from noprop_dist.model.own_block import BlockCode
from noprop_dist.run_files import OWN_BLOCK


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a NoProp network.

    Attributes:
        block: name of the block, one of BLOCKS, or of a class of the user's own.
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
        block_options: by name, what the block's constructor is given.
        block_sha256: of the source of a block of the user's own.
        block_code: that source; a file never holds it, see ``with_code``.
        block_loss: "mse", "ce" or "auto", the objective's own.
        overlap: share of an interval by which blocks also train on their neighbours'.
        steps_per_block: of inference, where a block has an interval of noise levels.
        solver: "euler" or "heun".
        alpha_bar: (T + 1) numbers of an own noise schedule.
        backbone: what makes the vectors of pictures, where something does.
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
    block_options: tuple[tuple[str, Any], ...] = ()
    block_sha256: str = ""
    block_code: BlockCode | None = None
    block_loss: str = "auto"
    overlap: float = 0.0
    steps_per_block: int = 1
    solver: str = "euler"
    alpha_bar: tuple[float, ...] | None = None
    backbone: BackboneSpec | None = None

    def make_schedule(self) -> Schedule:
        """The noise schedule of this network."""
        if self.alpha_bar is not None:
            return schedule_from_alpha_bar(torch.tensor(self.alpha_bar, dtype=torch.float64))
        return make_schedule(
            self.schedule, self.num_blocks, lo=self.alpha_bar_min, hi=self.alpha_bar_max
        )

    @property
    def block_hash(self) -> dict[str, str]:
        """What a run's fingerprint says of its block: its source's, where that is the user's."""
        return {"block": self.block_sha256} if self.block_sha256 else {}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        values = asdict(replace(self, block_code=None))
        values |= {"sample_shape": list(self.sample_shape)}
        # The file of a network is the same as before there was a choice.
        usual = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        kept = {k: v for k, v in values.items() if k not in usual or v != usual[k]}
        return kept | ({"block_options": dict(self.block_options)} if self.block_options else {})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelSpec":
        """The inverse of ``to_dict``."""
        plain = {k: v for k, v in fields.items() if k != "block_code"}
        plain["block_options"] = tuple(fields.get("block_options", {}).items())
        plain |= {k: tuple(fields[k]) for k in ("sample_shape", "alpha_bar") if k in fields}
        if "backbone" in fields:
            plain["backbone"] = BackboneSpec.from_dict(fields["backbone"])
        return cls(**plain)

    def with_code(self, code: BlockCode | None, where: object) -> "ModelSpec":
        """This network with the source of its block, where that is the user's own.

        Args:
            code: what the user named; None where nothing was.
            where: what to call the network.

        Raises:
            UserError: the user named none, or not the one that the network was trained with.
        """
        if not is_own(self.block):
            if code is not None:
                raise UserError(f"{where} has the block {self.block}: leave --block out.")
            return self
        if code is None:
            raise UserError(
                f"{where} has a block of its own, {self.block}, whose code is run only where you "
                f'say so: give --block {self.block}, in Python block="{self.block}".'
            )
        if code.sha256 != self.block_sha256:
            raise UserError(
                f"--block {code.name} is not the code that {where} was trained with (its sha256 is "
                f"{code.sha256[:12]}, that of the run {self.block_sha256[:12]}): restore it, or "
                f"give the copy in the run's folder, {OWN_BLOCK}:{self.block.rpartition(':')[2]}."
            )
        return replace(self, block_code=code)
