"""Keyed randomness: every random number is drawn from a key, never from where or when it is drawn.

A key is the run's seed, a purpose and a few integers (block, step, draw, ...). Two units that run
on different machines, or one that runs again after a failure, draw the same numbers.
"""

import hashlib

import numpy as np
import torch


def key(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit key for ``(seed, purpose, *index)``, uniform and independent between tuples.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for, such as ``"dropout"``.
        index: non-negative integers that tell draws of one purpose apart (block, step, ...).
    """
    text = ":".join([str(seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def torch_generator(
    seed: int, purpose: str, *index: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator on ``device`` for ``(seed, purpose, *index)``."""
    return torch.Generator(device).manual_seed(key(seed, purpose, *index))


def numpy_generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A NumPy generator for ``(seed, purpose, *index)``."""
    return np.random.Generator(np.random.PCG64(key(seed, purpose, *index)))
