"""What a painter of given pictures is asked for, and what a painter is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from garl.brush.spec import Brush
from garl.progress import PaintProgress, silent
from garl.types import Ground


@dataclass(frozen=True, eq=False)
class Commission:
    """A picture to be painted."""

    target: np.ndarray  # (3, H, W) uint8, for greedy search also (1, H, W); where the ground is locked, what it shows
    ground: Ground
    count: int  # strokes, at most
    brush: Brush
    seed: int = 0
    progress: PaintProgress = silent
    seconds: float | None = None  # after about this time the painter stops searching


Painter = Callable[[Commission], np.ndarray]
"""Returns strokes (T, 14) float32 of the brush, at least one."""
