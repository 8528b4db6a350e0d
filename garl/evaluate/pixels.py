"""Gaps between pixels, of a painting and its target or of paintings and real pictures: no network's opinion."""

from __future__ import annotations

import numpy as np

from garl.errors import GarlError

PART = 2**24
"""Numbers that are compared at a time: in float32 a large picture would take gigabytes."""


def mean_squared_error(picture: np.ndarray, target: np.ndarray) -> float:
    """Of two pictures uint8 of one shape, in units of 0..1 brightness."""
    parts = (np.array_split(pixels.ravel(), picture.size // PART + 1) for pixels in (picture, target))
    means = [(float(np.mean(np.square((a.astype(np.float32) - b) / 255))), len(a)) for a, b in zip(*parts, strict=True)]
    return sum(mean * (count / picture.size) for mean, count in means)


def pixel_gaps(painted: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Pictures (N, C, H, W) and (M, C, H, W) uint8 → mean gap and std gap, both ≥ 0 in units of 0..1 brightness.

    Each is the mean over the C·H·W places of |painted − real|, where a place's value is its mean, or its standard
    deviation, over the pictures. Raises GarlError if the two differ in (C, H, W).
    """
    if painted.shape[1:] != real.shape[1:]:
        raise GarlError(f"paintings are {painted.shape[1:]} but real pictures {real.shape[1:]}: load them at one size")
    means, deviations = [x.mean(0) / 255 for x in (painted, real)], [x.std(0) / 255 for x in (painted, real)]
    return float(np.abs(means[0] - means[1]).mean()), float(np.abs(deviations[0] - deviations[1]).mean())
