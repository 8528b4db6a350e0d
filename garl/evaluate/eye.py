"""The eye that a set of pictures is seen with when it is measured: features of each, whose statistics are compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from garl.evaluate.features import load_features
from garl.evaluate.judge import load_judge

SMALLEST, LARGEST = 8, 32
"""Pixels a side: of the smallest pictures that the features can see, and of the largest grey ones that the judge of
digits is asked about."""


class Eye(Protocol):
    def look(self, images: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Images (N, C, H, W) uint8 → features (N, F) float64; the likeliest digits (N,) int64, or None if it knows no
        digits."""


def choose_eye(shape: Sequence[int], judge: Path | None = None) -> Eye:
    """For pictures of `shape` (…, C, H, W): the judge of digits in `judge`; without one the judge that ships if they
    are small and grey, or tiny, and else the perceptual features. Raises GarlError if the file is not a judge."""
    channels, *sides = shape[-3:]
    digits = min(sides) < SMALLEST or (channels == 1 and max(sides) <= LARGEST)
    return load_judge(judge) if judge or digits else load_features()
