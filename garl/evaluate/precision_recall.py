"""Improved precision and recall: how many paintings look real, how much of the real variety is painted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from garl.errors import GarlError

CHUNK = 1024
NEIGHBOURS = 3


def precision_recall(painted: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Features (N, F) and (M, F) → precision, recall, both in 0..1.

    Kynkäänniemi et al. 2019, eqs. 1–3. A set's manifold is the union of balls around its points, each reaching to that
    point's k-th nearest neighbour in the set. Precision is the share of painted points inside the real manifold, recall
    the share of real points inside the painted one. Raises GarlError if a set has k points or fewer.
    """
    fewest = min(len(painted), len(real))
    if fewest <= k:
        raise GarlError(f"precision and recall need more than {k} pictures on each side, not {fewest}: give more")
    ours, theirs = torch.from_numpy(painted), torch.from_numpy(real)
    return _share_inside(ours, theirs, k), _share_inside(theirs, ours, k)


def _share_inside(points: Tensor, centers: Tensor, k: int) -> float:
    """The share of points (N, F) within the manifold of centers (M, F)."""
    # a center is its own nearest neighbour, hence k + 1
    radii = torch.cat([_distances(rows, centers).kthvalue(k + 1).values for rows in centers.split(CHUNK)])
    inside = [(_distances(rows, centers) <= radii).any(1) for rows in points.split(CHUNK)]
    return float(torch.cat(inside).double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (N, M), without the matrix-product shortcut, which blurs the zero between equal points."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
