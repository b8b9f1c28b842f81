"""What a run begins with that is given in Python and no option can hold, and its file.

K classes, D embedding width, T blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError
from noprop_dist.maths.schedule import schedule_from_alpha_bar
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.block_names import is_own
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.backbones import write_backbone
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.record.folder import Reader, home_of
from noprop_dist.record.network_files import load_network
from noprop_dist.record.store import Store
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.run_files import OWN_PARTS

OWN: Literal["own"] = "own"  # what the options say of such a part

NoiseSchedule = Callable[[float], float] | Sequence[float] | npt.ArrayLike


@dataclass(frozen=True, eq=False)
class OwnParts:
    """What a run begins with beside its options and its rows.

    Attributes:
        alpha_bar: float64 (T + 1,), an own noise schedule.
        class_embed: float32 (K, D), own class embeddings, which stay fixed.
        network: whose weights it begins with.
        code: of a block of the user's own.
        backbone: that makes the rows of pictures.
    """

    alpha_bar: Tensor | None = None
    class_embed: Tensor | None = None
    network: TrainedNetwork | None = None
    code: BlockCode | None = None
    backbone: Backbone | None = None

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of each part that there is.

        Tensors, "own"; weights to begin with, "init"; code, "block"; a backbone, "features".
        """
        found = {"own": sha256_of_tensors(self.tensors)} if self.tensors else {}
        if self.network is not None:
            found["init"] = sha256_of_tensors(self.network.network.state_dict())
        if self.code is not None:
            found["block"] = self.code.sha256
        if self.backbone is not None:
            found["features"] = self.backbone.spec.sha256
        return found

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The own parts by name."""
        named = {"alpha_bar": self.alpha_bar, "class_embed": self.class_embed}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def given_parts(
    config: TrainConfig,
    noise_schedule: NoiseSchedule | None = None,
    class_embed: npt.ArrayLike | Tensor | None = None,
) -> tuple[TrainConfig, OwnParts]:
    """The own parts of a run, and its options, which then say that there are some.

    What the options say is there and is not given is read from the run folder; the network of
    ``init_from`` is loaded.

    Args:
        config: the options.
        noise_schedule: alpha_bar of t = 0..T, or a function of t / T.
        class_embed: (K, D).

    Raises:
        UserError: a part is none, or is missing.
    """
    own = OwnParts()
    if noise_schedule is not None:
        if config.objective != "dt":
            raise UserError(
                f"noise_schedule is alpha_bar of t = 0..T, and --objective {config.objective} has "
                "other noise levels: give --objective dt, or leave it out."
            )
        own = replace(own, alpha_bar=_alpha_bar(noise_schedule, config.num_blocks))
        config = replace(config, noise_schedule=OWN)
    if class_embed is not None:
        if config.embedding_type not in (TrainConfig.embedding_type, OWN):
            raise UserError(
                f"--embedding-type {config.embedding_type} makes class embeddings of its own, and "
                "class_embed gives others, which stay fixed: leave one of them out."
            )
        if config.embedding_dim is not None:
            raise UserError(
                f"--embedding-dim {config.embedding_dim} has no meaning beside class_embed, whose "
                "width counts: leave it out."
            )
        own = replace(own, class_embed=_class_embed(class_embed))
        config = replace(config, embedding_type=OWN)
    if config.is_placed or config.resume_from:
        kept = read_own_parts(Store(home_of(config.resume_from or config.folder)))
        if config.noise_schedule == OWN and own.alpha_bar is None:
            own = replace(own, alpha_bar=kept.alpha_bar)
        if config.embedding_type == OWN and own.class_embed is None:
            own = replace(own, class_embed=kept.class_embed)
    if config.init_from is not None:
        block = config.block if is_own(config.block) else None
        network = load_network(config.init_from, precision="fp32", block=block)
        own = replace(own, network=network)
    return config, own


def _alpha_bar(given: NoiseSchedule, num_blocks: int) -> Tensor:
    values = [given(t / num_blocks) for t in range(num_blocks + 1)] if callable(given) else given
    alpha_bar = torch.as_tensor(_numbers("noise_schedule", values, np.float64))
    if alpha_bar.shape != (num_blocks + 1,):
        raise UserError(
            f"noise_schedule must be alpha_bar of t = 0..T, {num_blocks + 1} numbers for "
            f"{num_blocks} blocks, or a function of t / T; got shape {tuple(alpha_bar.shape)}."
        )
    try:
        return schedule_from_alpha_bar(alpha_bar).alpha_bar
    except ValueError as error:
        raise UserError(f"noise_schedule: {error}.") from error


def _numbers(name: str, values: object, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        return np.array(values, dtype)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name} must be numbers, got {type(values).__name__} ({error}); what has a name is "
            "given as noise_schedule or embedding_type of TrainConfig."
        ) from error


def _class_embed(given: npt.ArrayLike | Tensor) -> Tensor:
    w = torch.from_numpy(_numbers("class_embed", given, np.float32))
    if w.ndim != 2 or not bool(w.isfinite().all()):
        raise UserError(
            "class_embed must be finite numbers of shape (K, D), a row for every class; got shape "
            f"{tuple(w.shape)}."
        )
    if len(torch.unique(w, dim=0)) < len(w):
        raise UserError(
            "class_embed has equal rows, whose classes no network can tell apart: give every class "
            "one of its own."
        )
    return w


def write_own_parts(store: Store, own: OwnParts) -> None:
    """Write ``own_parts.safetensors`` and ``backbone.safetensors``, where there are any.

    Raises:
        UserError: the run folder cannot be written to.
    """
    if own.tensors:
        store.write(OWN_PARTS, save(own.tensors))
    if own.backbone is not None:
        write_backbone(store, own.backbone)


def read_own_parts(store: Store) -> OwnParts:
    """The own tensors that ``write_own_parts`` wrote; none where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    kept = Reader(store).tensors(OWN_PARTS) or {}
    return OwnParts(kept.get("alpha_bar"), kept.get("class_embed"))
