"""Class embeddings W (K, D): one-hot, learned and prototype starts (sec. 2.2.1).

K classes, D embedding width, N images.
"""

import torch
from jaxtyping import Float, Int64
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


def prototype_indices(
    flat: Float[Tensor, "N D"], y: Int64[Tensor, " N"], num_classes: int
) -> Int64[Tensor, " K"]:
    """Row per class of the image whose median distance to the others of its class is smallest.

    Args:
        flat: normalised images, one per row.
        y: labels in 0..K-1; every class occurs.
        num_classes: K.
    """
    chosen = []
    for k in range(num_classes):
        members = (y == k).nonzero().squeeze(1)
        images = flat[members]
        medians = torch.cat(
            [_median_distance(images, start) for start in range(0, len(images), _ROWS)]
        )
        chosen.append(members[medians.argmin()])
    return torch.stack(chosen)


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
