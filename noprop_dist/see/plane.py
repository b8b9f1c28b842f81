"""The plane in which class embeddings lie widest apart; K classes, D embedding width."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALIKE = 0.99  # of the widest direction's deviation: a direction that is as wide


@dataclass(frozen=True)
class Plane:
    """Two principal directions of the class embeddings.

    Attributes:
        centre: (D,), the mean embedding.
        directions: (2, D), orthonormal, or zero where there is no such direction.
        share: of the embeddings' variance that lies in the plane.
    """

    centre: Floats
    directions: Floats
    share: float

    def project(self, points: Floats) -> Floats:
        """Points (..., D) as (..., 2)."""
        return (points - self.centre) @ self.directions.T


def widest_plane(u: Floats) -> Plane:
    """The plane of the first two principal components.

    Where several directions are widest, as with one-hot embeddings, any two of them are principal
    components: those are taken that lay the classes around a circle, in their order.

    Args:
        u: (K, D), the class embeddings.
    """
    centre = u.mean(axis=0)
    left, size, right = np.linalg.svd(u - centre, full_matrices=False)
    total = float((size**2).sum())
    alike = int((size >= ALIKE * size[0]).sum()) if total else 0
    if alike > 1:
        angle = 2 * np.pi * np.arange(len(u)) / len(u)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        mixed, triangle = np.linalg.qr(left[:, :alike].T @ circle)
        directions = (mixed * np.copysign(1, triangle.diagonal())).T @ right[:alike]
    else:
        directions = np.zeros((2, u.shape[1]))
        found = right[:2][size[:2] > 0]
        # A direction's sign is nobody's choice: this one does not depend on the library.
        largest = found[np.arange(len(found)), np.abs(found).argmax(axis=1)]
        directions[: len(found)] = found * np.sign(largest)[:, None]
    inside = float((((u - centre) @ directions.T) ** 2).sum())
    return Plane(centre, directions, inside / total if total else 0.0)
