"""Where to compute and in which number format: where bfloat16 pays, and the context for it."""

from contextlib import AbstractContextManager, nullcontext

import torch

from noprop_dist.errors import UserError
from noprop_dist.host import peak_bytes


def resolve_device(name: str) -> torch.device:
    """The device called ``name``: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: unknown, or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name} is unknown: give auto, cpu, cuda or cuda:N.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UserError(
                f"--device {name} is not on this machine, which has {count or 'no'} usable "
                f"GPU{'s' * (count > 1)}: give --device cpu or auto."
            )
    return device


def resolve_precision(precision: str, device: torch.device) -> str:
    """What "auto" means on ``device``: "fp32" or "bf16".

    Raises:
        UserError: a number format that the device does not have.

    A processor without bf16 instructions emulates them, ten times slower than float32.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError("--precision tf32 is a number format of GPUs: give fp32, bf16 or auto.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        # Without a GPU here the units run elsewhere, on what such clusters have: Ampere or newer.
        capable = torch.cuda.get_device_capability(device) if torch.cuda.is_available() else (8, 0)
        return "bf16" if capable >= (8, 0) else "fp32"
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = flags.get("avx512_bf16") or flags.get("amx_bf16")
    return "bf16" if native else "fp32"


def use_number_format(precision: str, device: torch.device) -> None:
    """Let this process's GPU work be of ``precision``, and the same bits each time.

    PyTorch's own switches, which are the whole process's; by its defaults convolutions in "fp32"
    would be computed in TF32.
    """
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"


def free_on(device: torch.device) -> int:
    """Bytes of a GPU's memory that are free."""
    free, _ = torch.cuda.mem_get_info(device)
    return free


def peak_on(device: torch.device) -> int:
    """The most bytes that PyTorch has had of a GPU; on a CPU, that this process had resident."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()


def new_stream(device: torch.device) -> torch.cuda.Stream:
    """A queue of a GPU's own, beside those of other threads."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix work in bfloat16 where ``precision`` is "bf16"; weights stay float32."""
    if precision == "bf16":
        # No weight is used twice in a pass, and a kept copy would outlive a CUDA graph's memory.
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
    return nullcontext()
