"""Noise from a counter: random numbers as a plain function of whole numbers, in tensor operations.

A ``torch.Generator`` keeps a state and is PyTorch's own. What is here needs neither: the same whole
numbers give the same noise in any batch, on any device and in any runtime that adds, shifts and
masks 64-bit integers, so that it can be part of an exported graph.

B rows, n numbers of a row.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

WORD = 0xFFFFFFFF  # 32 bits, kept in int64: no operation below overflows
PARITY = 0x1BD11BDA
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
ROUNDS = 20


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Threefry-2x32 of 20 rounds (Salmon et al., SC 2011): a key and a counter, mixed.

    Args:
        key: two int64 tensors of 32-bit words.
        counter: as well; all four broadcast.

    Returns:
        Two int64 tensors of random 32-bit words.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x, y = (counter[0] + keys[0]) & WORD, (counter[1] + keys[1]) & WORD
    for i in range(ROUNDS):
        turn = ROTATIONS[i % 8]
        x = x + y  # its upper bits are cut off with those of y, or below
        y = ((y << turn) | (y >> (32 - turn))) ^ x
        y = y & WORD
        if i % 4 == 3:
            j = i // 4 + 1
            x = (x + keys[j % 3]) & WORD
            y = (y + (keys[(j + 1) % 3] + j)) & WORD
    return x, y


def seeded_normals(seed: Int[Tensor, " B"], draws: int, count: int) -> Float[Tensor, "B draws n"]:
    """Standard normals, row by row: those of a row depend on its seed and the draw alone.

    The key is the seed's two halves, the counter is (pair of numbers, draw), and two words become
    two normals by Box and Muller: ``sqrt(-2 ln u) (cos v, sin v)``, with u = (word + 1/2) / 2^32
    and v the other word's upper 24 bits as a share of a full turn.

    Args:
        seed: int64 (B,), at least 0.
        draws: how many noise draws, numbered from 0.
        count: n, how many numbers a row needs in each.

    Returns:
        float32 (B, draws, n) on the seeds' device.
    """
    pairs = torch.arange((count + 1) // 2, device=seed.device)
    low, high = (seed & WORD)[:, None, None], (seed >> 32)[:, None, None]
    numbers = torch.arange(draws, device=seed.device)[:, None]
    first, second = threefry((low, high), (pairs, numbers))
    # In float64, as log and sin differ by machine in their last bit, which rounding takes away.
    radius = torch.sqrt(-2 * torch.log((first.to(torch.float64) + 0.5) * 2.0**-32))
    angle = (second >> 8).to(torch.float64) * (2 * math.pi * 2.0**-24)
    # The cosine as a sine: not every runtime has it in float64.
    both = torch.stack([radius * torch.sin(angle + math.pi / 2), radius * torch.sin(angle)], dim=3)
    return both.flatten(2)[:, :, :count].to(torch.float32)
