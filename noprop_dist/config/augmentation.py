"""The options that change training samples, their labels or what they count."""

from dataclasses import dataclass
from typing import Literal

from noprop_dist.config.fields import Bounds, Checked, Trait, option
from noprop_dist.errors import UserError

GROUP = "augmentation"
MOST_BETA = 100.0  # nearly all shares are close to a half by then
# A block can have pictures of its own, but no labels: what blocks share is trained with them.
OF_PICTURES = Trait.OF_A_BLOCK
OF_LABELS = Trait.ONE_SIDED


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Checked):
    """What is done to training samples; those of other splits stay as they are."""

    augmentation: Literal["none", "standard", "strong"] = option(
        "none",
        GROUP,
        "standard: random crop with padding 4, less for small images, and flips for colour "
        "photographs; strong: also RandAugment and random erasing",
        traits=Trait.OF_A_BLOCK,
    )
    crop: Literal["auto", "yes", "no"] = option(
        "auto", GROUP, "random crop with padding; auto: in the standard and strong augmentation"
    )
    flip: Literal["auto", "yes", "no"] = option(
        "auto",
        GROUP,
        "mirror half of the images; auto: in the standard and strong augmentation, of colour "
        "images, but not the digits of svhn",
    )
    randaugment: int | None = option(
        None,
        GROUP,
        "operations of RandAugment for every image; default: 2 in the strong augmentation, else 0",
        Bounds(least=0, most=8),
        OF_PICTURES,
    )
    randaugment_magnitude: int | None = option(
        None,
        GROUP,
        "strength of RandAugment's operations; default: 9 of 30",
        Bounds(least=0, most=30),
        OF_PICTURES,
    )
    random_erasing: float | None = option(
        None,
        GROUP,
        "share of images of which a rectangle becomes noise; default: 0.25 in the strong "
        "augmentation, else 0",
        Bounds(least=0, most=1),
        OF_PICTURES,
    )
    mixup: float = option(
        0.0,
        GROUP,
        "blend samples in pairs, their labels too, by shares from Beta(A, A); 0: do not",
        Bounds(least=0, most=MOST_BETA),
        OF_LABELS,
    )
    cutmix: float = option(
        0.0,
        GROUP,
        "put a rectangle of another image into each, by areas from Beta(A, A); 0: do not; with "
        "--mixup each image has one or the other",
        Bounds(least=0, most=MOST_BETA),
        OF_LABELS,
    )
    label_smoothing: float = option(
        0.0,
        GROUP,
        "share of a label that is spread over all classes",
        Bounds(least=0, below=1),
        OF_LABELS,
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        GROUP,
        "balanced: every class counts as much in the loss, however many samples it has",
        traits=OF_LABELS,
    )

    def __post_init__(self) -> None:
        """Check every value, and what they mean together."""
        super().__post_init__()
        strong = self.randaugment is None and self.augmentation == "strong"
        if self.randaugment_magnitude is not None and not (self.randaugment or strong):
            raise UserError(
                "--randaugment-magnitude is of RandAugment, which is off: give --randaugment 2 or "
                "--augmentation strong, or leave it out."
            )
