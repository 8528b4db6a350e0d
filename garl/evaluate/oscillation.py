"""How much a run goes round in circles: the mode oscillation that the thesis found and left open (§7.6).

Policy and discriminator chase each other: what is painted, and what is called real, returns again and again. It shows
in whatever is measured of a run as slow waves, which `slow_power` finds, and in the discriminator's own memory:
paintings that it once ranked above others it later ranks below them, which `flips` counts.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import detrend


def slow_power(series: np.ndarray, shortest: float, longest: float) -> float:
    """The variance of `series` (N,) in waves of `shortest` to `longest` samples, about a straight line.

    A wave of amplitude a within the band counts a²/2, white noise of variance s² counts s² (2/shortest − 2/longest).
    Under a Hann window, so that a wave does not leak out of the band.
    """
    n = len(series)
    window = np.hanning(n + 1)[:n]
    spectrum = np.abs(np.fft.rfft(detrend(series) * window)) ** 2
    frequency = np.fft.rfftfreq(n)
    band = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    return float(2 * spectrum[band].sum() / (n * (window**2).sum()))


def flips(scores: np.ndarray) -> float:
    """How much rankings change, by scores (J, J) that J discriminators, one after another, gave to J sets of paintings.

    Each row is taken in units of its spread. For every pair of sets and every two neighbouring rows that rank it
    differently, the smaller of its two differences counts: a close call counts little. The mean over all pairs and
    rows; 0 if no ranking ever changes. The i-th set is there from the i-th row on; what stands before does not count.
    """
    scores = np.where(np.tri(len(scores), dtype=bool), scores, np.nan)
    spread = np.nanstd(scores, axis=1, keepdims=True) + 1e-12
    difference = (scores[:, :, None] - scores[:, None, :]) / spread[:, :, None]  # (J, I, I)
    before, after = difference[:-1], difference[1:]
    first, second = np.triu_indices(scores.shape[1], 1)
    before, after = before[:, first, second], after[:, first, second]
    turned = np.where(before * after < 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
    seen = ~np.isnan(before * after)
    return float(turned[seen].mean()) if seen.any() else 0.0
