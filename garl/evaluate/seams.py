"""Whether a picture that was painted in tiles shows where one ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def seam_ratio(picture: np.ndarray, target: np.ndarray, columns: Sequence[int], rows: Sequence[int]) -> float:
    """How much more the error jumps across the borders of tiles than between other neighbours; 1: no seam is seen.

    The error is `picture` − `target`, both (C, H, W) uint8, and a jump its mean absolute difference between a pixel and
    the next. Borders lie before the pixels of these `columns` and `rows`, 0 < column < W and 0 < row < H.
    """
    error = picture.astype(np.float32) - target
    across, along = [], []
    for axis, borders in ((2, columns), (1, rows)):
        jumps = np.abs(np.diff(error, axis=axis)).swapaxes(0, axis)  # (N − 1, …): jump i lies before pixel i + 1
        at = np.isin(np.arange(1, len(jumps) + 1), borders)
        across.append(jumps[at].ravel())
        along.append(jumps[~at].ravel())
    return float(np.concatenate(across).mean() / max(np.concatenate(along).mean(), 1e-9))
