"""Fréchet distance between two Gaussians fitted to features."""

from __future__ import annotations

import numpy as np

from garl.errors import GarlError


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Features (N, F) and (M, F) → |μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), ≥ 0; 0 for equal Gaussians.

    Dowson & Landau 1982, "The Fréchet distance between multivariate normal distributions"; on network features,
    Heusel et al. 2017, eq. 6. With Σ = RᵀR the singular values of Ra Rbᵀ are the square roots of the eigenvalues of
    Σa Σb: no matrix square root is taken and no covariance formed, so singular covariances (N ≤ F) lose no digits.
    Few samples push the distance up: compare only distances of equal N. Raises GarlError for fewer than two rows.
    """
    (mean_a, root_a), (mean_b, root_b) = _gaussian(a), _gaussian(b)
    overlap = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()  # tr (Σa Σb)^½
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * overlap
    return max(0.0, float(distance))


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (F,) and a factor R (min(N, F), F) of the unbiased covariance RᵀR."""
    if len(features) < 2:
        raise GarlError(f"a Fréchet distance needs at least 2 pictures on each side, not {len(features)}: give more")
    mean = features.mean(0, dtype=np.float64)
    return mean, np.linalg.qr(features - mean, mode="r") / np.sqrt(len(features) - 1)
