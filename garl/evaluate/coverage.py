"""Which classes the paintings reach, by the judge's verdicts."""

from __future__ import annotations

import numpy as np

from garl.errors import GarlError
from garl.evaluate.judge import CLASSES


def class_shares(verdicts: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """Verdicts (N,) int64 in 0..K-1 → each class's share of them, (K,) float64, summing to 1."""
    if len(verdicts) == 0:
        raise GarlError("class shares need at least 1 picture: give some")
    return np.bincount(verdicts, minlength=classes) / len(verdicts)


def recognised(verdicts: np.ndarray, label: int) -> float:
    """The share of verdicts (N,) that name `label`. Raises GarlError for a label that the judge does not know."""
    if not 0 <= label < CLASSES:
        raise GarlError(f"the judge knows the labels 0 to {CLASSES - 1}, not {label}: choose one of them")
    return float(class_shares(verdicts)[label])


def coverage(shares: np.ndarray) -> int:
    """The number of classes, out of K, whose share is at least 1/(4K): a quarter of an equal share."""
    return int((shares >= 1 / (4 * len(shares))).sum())


def total_variation(shares: np.ndarray, real_shares: np.ndarray) -> float:
    """½ Σ |p − q| between two shares (K,): 0 if equal, 1 if they have no class in common."""
    return float(np.abs(shares - real_shares).sum() / 2)
