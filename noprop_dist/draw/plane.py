"""The plane in which class embeddings lie widest apart; K classes, D embedding width."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ALIKE = 0.99  # of the widest direction's deviation: a direction that is as wide
FLAT = 1.5  # times the variance of two other directions: hardly more, and as good as alike
MOST = 0.5  # of the variance: a plane of less shows little of how far points lie apart


@dataclass(frozen=True)
class Plane:
    """Two principal directions of the class embeddings.

    Attributes:
        centre: (D,), the mean embedding.
        directions: (2, D), orthonormal, or zero where there is no such direction.
        share: of the embeddings' variance that lies in the plane.
        alike: how many directions are about as wide as these two; 2 where no others are.
    """

    centre: Floats
    directions: Floats
    share: float
    alike: int

    def project(self, points: Floats) -> Floats:
        """Points (..., D) as (..., 2)."""
        return (points - self.centre) @ self.directions.T

    @property
    def about(self) -> str:
        """What the plane is, how much of the embeddings it holds, and what follows."""
        held = f"holds {100 * self.share:.0f} % of their variance"
        little = ", so that distances in it say little" if self.share < MOST else ""
        if self.alike > 2:
            return (
                f"which are about as wide in {self.alike} directions: it lays the classes around a "
                f"circle, in their order, and {held}{little}"
            )
        return f"that of their first two principal components, which {held}{little}"


def widest_plane(u: Floats) -> Plane:
    """The plane of the first two principal components.

    Where several directions are about as wide, as with one-hot embeddings, and with learned ones
    that have stayed nearly a regular simplex, chance alone would say which come first: those two
    are taken that lay the classes around a circle, in their order.

    Args:
        u: (K, D), the class embeddings.
    """
    centre = u.mean(axis=0)
    left, size, right = np.linalg.svd(u - centre, full_matrices=False)
    total = float((size**2).sum())
    alike = _num_alike(size)
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
    return Plane(centre, directions, inside / total if total else 0.0, max(alike, 2))


def _num_alike(size: Floats) -> int:
    """Directions that are about as wide as the widest, of the deviations of all, widest first."""
    if not size[0]:
        return 0
    variance = size[size > 1e-6 * size[0]] ** 2
    if len(variance) > 2 and variance[:2].mean() < FLAT * variance[2:].mean():
        return len(variance)
    return int((size >= ALIKE * size[0]).sum())
