"""Number formats: where bfloat16 pays, and the context that computes in it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def resolve_precision(precision: str, device: torch.device) -> str:
    """What "auto" means on ``device``: "fp32" or "bf16".

    A processor without bf16 instructions emulates them, ten times slower than float32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = capable.get("avx512_bf16") or capable.get("amx_bf16")
    return "bf16" if native else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix work in bfloat16 where ``precision`` is "bf16"; weights stay float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
