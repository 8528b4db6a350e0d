"""Structural similarity against its definition, written slowly."""

from __future__ import annotations

import numpy as np
import pytest

from garl.errors import GarlError
from garl.evaluate.ssim import ssim


def slow(picture: np.ndarray, target: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13–16, one window after the other."""
    offset = np.arange(-5, 6)
    weight = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    weight /= weight.sum()
    found = []
    for x, y in zip(picture / 255, target / 255, strict=True):
        for top in range(x.shape[0] - 10):
            for left in range(x.shape[1] - 10):
                a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
                mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
                spread_a, spread_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
                common = (weight * (a - mean_a) * (b - mean_b)).sum()
                light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                found.append(light * (2 * common + 9e-4) / (spread_a + spread_b + 9e-4))
    return float(np.mean(found))


def test_it_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (3, 14, 19), np.uint8)
    target = np.clip(picture * 0.6 + rng.normal(40, 30, picture.shape), 0, 255).astype(np.uint8)
    assert ssim(picture, target) == pytest.approx(slow(picture, target), abs=1e-9)
    assert ssim(picture, picture) == 1.0


def test_of_flat_pictures_the_light_alone_counts() -> None:
    grey, dark = (np.full((1, 11, 12), value, np.uint8) for value in (200, 100))
    c1 = 2.55**2
    assert ssim(grey, dark) == pytest.approx((2 * 200 * 100 + c1) / (200**2 + 100**2 + c1))


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(GarlError, match="11 pixels"):
        ssim(np.zeros((3, 10, 40), np.uint8), np.zeros((3, 10, 40), np.uint8))
