"""A whole network in one safetensors file, described in the file's own header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from noprop_dist.errors import UserError
from noprop_dist.record.export import TrainedNetwork, describe, rebuild

SUFFIX = ".safetensors"
FORMAT = "noprop-network-1"


def to_bytes(trained: TrainedNetwork) -> bytes:
    """The file: the state dict as float32, and its description under the header key of FORMAT."""
    state = trained.network.state_dict()
    # Copies: the format refuses tensors that share memory, as a block and its stand-in do.
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in state.items()}
    return save(tensors, metadata={FORMAT: header(trained)})


def header(trained: TrainedNetwork) -> str:
    """What every exported file says of its network, as JSON."""
    network = trained.network
    return json.dumps(describe(network.spec, trained.normalisation, trained.class_names))


def read_file(path: str | Path, device: str = "cpu", precision: str = "auto") -> TrainedNetwork:
    """The network of a file that ``to_bytes`` made.

    Args:
        path: the file.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16".

    Raises:
        UserError: it is no such file.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if FORMAT not in metadata:
                raise UserError(f"{path} is not a network that noprop export wrote.")
            described: dict[str, Any] = json.loads(metadata[FORMAT])
            names: list[str] = list(file.keys())
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in names}
        return rebuild(described, tensors, device, precision)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error}).") from error
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not a network that this version reads ({reason}).") from error
