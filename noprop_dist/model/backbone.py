"""A frozen network that makes vectors of pictures: one of torchvision's or timm's, without head.

B batch, C H W image axes, F features.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from noprop_dist.errors import UserError
from noprop_dist.maths.keys import key

NAME = r"(torchvision|timm):[\w.]+"  # no address, no path: nothing but what is installed is built
CLASSES = 1000  # of the head that torchvision's networks come with
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is, as plain values.

    Attributes:
        name: "torchvision:NAME" or "timm:NAME".
        sample_shape: (C, H, W) of the pictures that it is given, C 1 or 3.
        sha256: of its weights.
        weights: where they are from, in words.
        mean: of the colours that it was trained on, on the 0..1 scale.
        std: of the same.
    """

    name: str
    sample_shape: tuple[int, ...]
    sha256: str
    weights: str
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BackboneSpec":
        """The inverse of ``asdict``, from JSON."""
        lists = {k: tuple(values[k]) for k in ("sample_shape", "mean", "std")}
        return cls(**(dict(values) | lists))


class Backbone(nn.Module):
    """Pictures in, features out, in evaluation mode and float32.

    Args:
        spec: what it is.
        net: of three channels, without its head.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, net: nn.Module) -> None:
        super().__init__()
        self.spec, self.net = spec, net
        for name in ("mean", "std"):
            values = torch.tensor(getattr(spec, name)).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, samples: Tensor) -> Tensor:
        """Uint8 (B, C, H, W) -> float32 (B, F); what is grey is repeated for every colour."""
        x = samples.to(torch.float32).expand(-1, 3, -1, -1) / 255
        features: Tensor = self.net((x - self.mean) / self.std)
        return features

    @torch.inference_mode()
    def count_features(self) -> int:
        """F.

        Raises:
            UserError: it takes no pictures of such a size, or does not make vectors of them.
        """
        _, height, width = self.spec.sample_shape
        try:
            shape, device = self.spec.sample_shape, self.mean.device
            out = self(torch.zeros(1, *shape, dtype=torch.uint8, device=device))
        # Each network says in its own way that a picture is too small, or not of its one size.
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"--features {self.spec.name} takes no pictures of {height}x{width} ({reason}): "
                "give the --image-size that it was made for, such as 224."
            ) from error
        if not isinstance(out, Tensor) or out.dim() != 2:
            raise UserError(
                f"--features {self.spec.name} does not make one vector of a picture: give a "
                "network that classifies."
            )
        return out.shape[1]


def make_net(name: str) -> nn.Module:
    """A network without its head, with random weights: the same ones for a name at every call.

    Raises:
        UserError: there is no such network, or timm is not installed.
    """
    if not re.fullmatch(NAME, name):
        raise UserError(f"--features {name} names no network: give torchvision:NAME or timm:NAME.")
    library, _, network = name.partition(":")
    # Constructors draw from PyTorch's one generator: it is given a key, and put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(0, "features"))
        return {"torchvision": _of_torchvision, "timm": _of_timm}[library](network)


def colours_of(net: nn.Module) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation that a network was trained with, where it says so."""
    said = getattr(net, "pretrained_cfg", {})
    return {name: tuple(said[name]) for name in ("mean", "std") if name in said}


def load_weights(net: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Put weights into a network; those of a head that it does not have are left over.

    Args:
        net: the network.
        tensors: by the names of its state dict.
        where: what to call them.

    Raises:
        UserError: one is missing, or of another shape.
    """
    own = net.state_dict()
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    if missing := [name for name in needed if name not in tensors]:
        raise UserError(
            f"{where} lacks {missing[0]}, one of {len(missing)} tensors: give the state dict of "
            "this very network, under its own names."
        )
    try:
        net.load_state_dict(own | {name: tensors[name] for name in own if name in tensors})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} does not fit the network ({reason}).") from error


def _of_torchvision(name: str) -> nn.Module:
    from torchvision.models import get_model

    try:
        net: nn.Module = get_model(name, weights=None)
    except ValueError as error:
        raise UserError(
            f"--features torchvision:{name}: torchvision has no network of this name: see "
            "torchvision.models.list_models()."
        ) from error
    heads = [
        path
        for path, part in net.named_modules()
        if CLASSES in (getattr(part, "out_features", 0), getattr(part, "out_channels", 0))
    ]
    if not heads:
        raise UserError(f"--features torchvision:{name} is no network that classifies pictures.")
    net.set_submodule(heads[-1], nn.Identity())
    return net


def _of_timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"--features timm:{name} needs timm: install noprop-dist[timm], or give "
            "torchvision:NAME."
        ) from error
    try:
        net: nn.Module = timm.create_model(name, num_classes=0)
    except RuntimeError as error:  # of an unknown name, or of unknown weights after its dot
        raise UserError(
            f"--features timm:{name}: timm has no such network ({error}): see timm.list_models()."
        ) from error
    return net
