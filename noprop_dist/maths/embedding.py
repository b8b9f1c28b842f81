"""Class embeddings W (K, D): one-hot, learned and prototype starts (sec. 2.2.1).

K classes, D embedding width, N images.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_ROWS = 512  # images per slab of a distance matrix: bounds memory at 512 x N floats


def one_hot_embedding(num_classes: int) -> Float[Tensor, "K K"]:
    """W = I, float32."""
    return torch.eye(num_classes)


def learned_embedding(
    num_classes: int, dim: int, generator: torch.Generator
) -> Float[Tensor, "K D"]:
    """Starting W of the learned strategy, float32: orthonormal rows where D >= K, else random.

    Args:
        num_classes: K.
        dim: D, at least 1.
        generator: CPU generator of the draw.
    """
    w = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    if dim >= num_classes:
        q, r = torch.linalg.qr(w.T)
        # The sign of R's diagonal makes the draw uniform over orthonormal frames.
        w = (q * r.diagonal().sign()).T
    return w.to(torch.float32).contiguous()


def prototype_index(flat: Float[Tensor, "N D"]) -> int:
    """Row of the image whose median distance to the other images is smallest.

    Args:
        flat: normalised images of one class, one per row, at least one.
    """
    medians = [_median_distance(flat, start) for start in range(0, len(flat), _ROWS)]
    return int(torch.cat(medians).argmin())


def _median_distance(images: Tensor, start: int) -> Tensor:
    """Median distance of rows start.. to all other rows."""
    rows = images[start : start + _ROWS]
    distance = torch.cdist(rows, images)
    # An image is not one of "the others": its own distance must not count.
    distance[torch.arange(len(rows)), start + torch.arange(len(rows))] = torch.nan
    return distance.nanmedian(dim=1).values.nan_to_num(nan=0.0)


def embedding_distances(class_embed: Float[Tensor, "K D"]) -> tuple[float, float]:
    """Smallest and mean Euclidean distance between two different class embeddings."""
    distance = torch.pdist(class_embed.double())
    return float(distance.min()), float(distance.mean())
