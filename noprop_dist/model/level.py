"""What blocks make of the noise level that an objective tells them. B batch."""

import math

import torch
from torch import Tensor, nn

WAVES = 8  # the fastest has a period of 1 / 64 of a level


class LevelEmbedding(nn.Module):
    """Features of a noise level: itself and waves of it, then two linear layers.

    Args:
        width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1 + 2 * WAVES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, level: Tensor) -> Tensor:
        """(B,) float32 -> (B, width)."""
        angles = torch.stack([level * (math.pi * 2.0**k) for k in range(WAVES)], dim=1)
        waves = torch.cat([level[:, None], angles.sin(), angles.cos()], dim=1)
        features: Tensor = self.layers(waves)
        return features


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero: what it modulates starts as if it were not there."""

    def init_values(self, generator: torch.Generator) -> None:
        """Zeros; draws nothing."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
