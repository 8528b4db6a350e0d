"""Structural similarity: do two pictures have the same light, contrast and structure, place by place?"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

from garl.errors import GarlError

WINDOW, SIGMA = 11, 1.5
"""Side of the Gaussian window and its standard deviation, in pixels."""
K1, K2 = 0.01, 0.03
"""Keep the quotients apart from 0/0, as fractions of the range of values."""


def ssim(picture: np.ndarray, target: np.ndarray) -> float:
    """Of two pictures (C, H, W) uint8: the mean over channels, and over the places where the window fits, of

        (2 μₓμᵧ + c₁)(2 σₓᵧ + c₂) / ((μₓ² + μᵧ² + c₁)(σₓ² + σᵧ² + c₂))

    with means, variances and covariance under a Gaussian window (Wang et al. 2004, eq. 13). 1: the same picture.
    Raises GarlError if the window fits nowhere.
    """
    assert picture.shape == target.shape
    if min(picture.shape[1:]) < WINDOW:
        raise GarlError(f"structural similarity needs {WINDOW} pixels a side, not {picture.shape[1:]}: enlarge both")
    x, y = picture.astype(np.float64), target.astype(np.float64)
    mean_x, mean_y = _weighed(x), _weighed(y)
    spread_x, spread_y = _weighed(x * x) - mean_x**2, _weighed(y * y) - mean_y**2
    common = _weighed(x * y) - mean_x * mean_y
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * common + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (spread_x + spread_y + c2)
    return float(np.mean(above / below))


def _weighed(values: np.ndarray) -> np.ndarray:
    """The mean of (C, H, W) under the window, at every place where it lies within the picture."""
    half = WINDOW // 2
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        values = correlate1d(values, weights, axis)
    return values[:, half:-half, half:-half]
