"""The backbone of a run: where its weights are from, and the file that keeps them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from noprop_dist.errors import UserError, reading
from noprop_dist.model.backbone import Backbone, BackboneSpec, colours_of, load_weights, make_net
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import BACKBONE
from noprop_dist.text import first_sentence

PREFIX = "backbone."  # of its tensors beside those of a network


def find_backbone(name: str, sample_shape: tuple[int, ...], weights: str | None) -> Backbone:
    """A backbone with the weights of a file, else timm's, else random ones, which it says.

    Args:
        name: "torchvision:NAME" or "timm:NAME".
        sample_shape: of the pictures.
        weights: a safetensors file.

    Raises:
        UserError: no such network, or weights that are not its own.
    """
    if len(sample_shape) != 3:
        raise UserError(f"--features {name} needs images; this data set holds vectors.")
    net = make_net(name)
    if weights is not None:
        load_weights(net, _read(weights), weights)
        source = f"weights of {Path(weights).name}"
    else:
        source = _load_pretrained(net)
    spec = BackboneSpec(name, sample_shape, _sha256_of(net), source, **colours_of(net))
    return Backbone(spec, net)


def parted(
    tensors: Mapping[str, Tensor], spec: BackboneSpec | None, device: torch.device, where: object
) -> tuple[dict[str, Tensor], Backbone | None]:
    """The tensors of a network that was read without those ``named``, and its backbone.

    Args:
        tensors: of both.
        spec: of the backbone; None where there is none.
        device: where to put it.
        where: what to call them.

    Raises:
        UserError: the backbone's are missing or others.
    """
    own = {k: v for k, v in tensors.items() if not k.startswith(PREFIX)}
    if spec is None:
        return own, None
    theirs = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    net = make_net(spec.name)
    load_weights(net, theirs, where)
    if _sha256_of(net) != spec.sha256:
        raise UserError(
            f"{where} holds other weights of {spec.name} than the network was trained with: "
            f"restore {BACKBONE}, or train again."
        )
    return own, Backbone(spec, net).to(device)


def write_backbone(store: Store, backbone: Backbone) -> None:
    """Write ``backbone.safetensors``.

    Raises:
        UserError: the run folder cannot be written to.
    """
    store.write(BACKBONE, save(dict(backbone.net.state_dict())))


def tensors_beside(described: Mapping[str, Any], folder: str) -> dict[str, Tensor]:
    """The tensors, ``named``, of the backbone that a network's description tells of, if it does.

    Args:
        described: the network.
        folder: of its run.

    Raises:
        UserError: the file is damaged.
    """
    if "backbone" not in described.get("spec", {}):
        return {}
    return named(Reader(Store(folder)).tensors(BACKBONE) or {})


def named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's tensors under names that no block's has."""
    return {PREFIX + name: tensor for name, tensor in tensors.items()}


def _sha256_of(net: nn.Module) -> str:
    return sha256_of_tensors(net.state_dict())


def _read(weights: str) -> dict[str, Tensor]:
    with reading(f"--features-weights {weights}"):
        data = Path(weights).expanduser().read_bytes()
    try:
        return load(data)
    except SafetensorError as error:
        raise UserError(
            f"--features-weights {weights} is no safetensors file ({error}): pickles are not read; "
            "write one with safetensors.torch.save_file(network.state_dict(), FILE)."
        ) from error


def _load_pretrained(net: nn.Module) -> str:
    """Give a network of timm its weights, from the hub's cache or the hub; says what it has now."""
    place = getattr(net, "pretrained_cfg", {}).get("hf_hub_id")
    if not place:
        return "random weights: --features-weights FILE.safetensors gives others"
    from huggingface_hub import hf_hub_download

    try:
        file = hf_hub_download(place, "model.safetensors")
    except Exception as error:  # of the hub, of its HTTP library, of files: the run tells it
        why = first_sentence(error)
        return f"random weights: those of {place} could not be had ({why})"
    load_weights(net, load(Path(file).read_bytes()), file)
    return f"weights of {place}"
