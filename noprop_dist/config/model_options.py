"""The options of what a network is made of and what its blocks learn."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from noprop_dist.config.fields import Bounds, Checked, Trait, at_least, option

BLOCK_CHOICES = {
    "auto": "conv for images, conv-pooled for those above 64 pixels, mlp for vectors",
    "conv": "Fig. 6",
    "conv-pooled": "Fig. 6 for large images",
    "mlp": "Fig. 6 for vectors",
    "resnet18": "torchvision's",
    "resnet9": "of the fast CIFAR nets",
    "resnet": "4 residual layers of width 64",
    "vit-tiny": "3 layers of width 96",
    "vit-small": "6 layers of width 192",
}


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Checked):
    """What a network is made of."""

    embedding_type: Literal["one-hot", "learned", "prototype", "own"] = option(
        "one-hot",
        "model",
        "class embeddings: fixed one-hot, learned, prototype images, or fixed ones given in Python",
    )
    embedding_dim: int | None = option(
        None,
        "model",
        "D; default: classes for one-hot, 64 for learned, pixels for prototype",
        at_least(1),
    )
    num_blocks: int = option(10, "model", "T, the number of blocks", at_least(1))
    block: str = option(
        "auto",
        "model",
        "block architecture: "
        + "; ".join(f"{name}, {text}" for name, text in BLOCK_CHOICES.items())
        + "; or a class of one's own, package.module:Class or path/file.py:Class",
    )
    block_options: str | None = option(
        None, "model", "name=value,... for the block's constructor, such as width=32"
    )
    split_depth: int | None = option(
        None,
        "model",
        "layers of one deep network that is cut into T blocks of as many each; default: every "
        "block is a whole network",
        at_least(1),
    )
    dropout: float = option(
        0.2,
        "model",
        "dropout of every block but resnet18, to the nearest 1/256",
        Bounds(least=0, below=1),
        Trait.OF_A_BLOCK,
    )
    noise_schedule: Literal["cosine", "linear", "own"] = option(
        "cosine", "model", "noise schedule; own: given in Python", formerly="schedule"
    )
    alpha_bar_min: float = option(
        1e-4, "model", "alpha_bar[0], the share of label in z_0", Bounds(above=0, below=1)
    )
    alpha_bar_max: float = option(
        0.99, "model", "alpha_bar[T], the share of label in z_T", Bounds(above=0, below=1)
    )
    readout: Literal["softmax", "radial"] = option("softmax", "model", "readout of z_T")
    blocks: str | None = option(
        None,
        "model",
        "train these blocks alone, such as 1-3,7; noprop merge makes one network of such runs",
        traits=Trait.OF_ALL_TRIALS | Trait.ONE_SIDED,
    )
    objective: Literal["dt", "ct", "fm", "ranges", "none"] = option(
        "dt",
        "model",
        "what a block learns; dt: NoProp's discrete time (eq. 8); ct: its continuous time; fm: "
        "flow matching; ranges: DiffusionBlocks' ranges of sigma; none: the class without z",
    )
    block_loss: Literal["auto", "ce", "mse"] = option(
        "auto",
        "model",
        "a block's own loss: cross-entropy, or squared error of u_hat; auto: mse for dt, else ce",
    )
    overlap: float = option(
        0.0,
        "model",
        "ct, fm, ranges: share of its interval by which a block also trains on both neighbours'",
        Bounds(least=0, most=1),
    )
    steps_per_block: int = option(
        1, "model", "ct, fm, ranges: steps of inference in a block's interval", at_least(1)
    )
    solver: Literal["euler", "heun"] = option(
        "euler", "model", "ct, fm, ranges: of the steps of inference"
    )


# Options that mean something to some objectives alone.
_INTERVALS = ("ct", "fm", "ranges")
ONLY_FOR = {
    "noise_schedule": ("dt", "ct"),
    "alpha_bar_min": ("dt", "ct"),
    "alpha_bar_max": ("dt", "ct"),
    "overlap": _INTERVALS,
    "steps_per_block": _INTERVALS,
    "solver": _INTERVALS,
}


def meaningless_to(objective: str) -> dict[str, Any]:
    """The options that mean nothing to an objective, each with the default that it must have."""
    return {
        f.name: f.default
        for f in fields(ModelOptions)
        if objective not in ONLY_FOR.get(f.name, (objective,))
    }
