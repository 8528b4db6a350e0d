"""The layout of a physical stroke, shared by engine, environment, stroke files and what is made of them.

A stroke is float32 (14,), in units that no resolution enters, so that it replays at any size:

    0–5   x0 y0 x1 y1 x2 y2   0..1 of the canvas width (x, rightwards) and height (y, downwards)
    6–8   red green blue      0..1; a grey canvas reads red alone
    9     thickness           diameter of the largest dab as a fraction of the canvas's shorter side
    10    opacity             0..1; 0 is a pen that moves without painting
    11    start pressure      0..1, multiplies the dabs' diameter, on a linear ramp
    12    end pressure        from the stroke's start to its end
    13    brush               the number of the engine's brush that paints it, from 0
"""

import numpy as np

STROKE_SIZE = 14
POINTS = slice(0, 6)
COLOR = slice(6, 9)
THICKNESS = 9
OPACITY = 10
START_PRESSURE = 11
END_PRESSURE = 12
BRUSH = 13

POINTS_PER_TYPE = {"bezier": 3, "line": 2, "triangle": 3, "point": 1}
"""How many of the three points a stroke type reads; the rest repeat the last one read."""


PLAIN_SIZE = START_PRESSURE
"""Numbers of a stroke of the first brush at full pressure: those up to the opacity."""


def fully_pressed(strokes: np.ndarray) -> np.ndarray:
    """Strokes (…, PLAIN_SIZE), which end with the opacity, as strokes (…, 14) of the first brush at full pressure."""
    rest = np.broadcast_to(np.array([1, 1, 0], strokes.dtype), (*strokes.shape[:-1], 3))
    return np.concatenate([strokes, rest], -1)


def in_color(colors: np.ndarray, channels: int) -> np.ndarray:
    """Colours (N, …) of which as many channels count, 1 or 3, as (N, 3)."""
    return np.repeat(colors[:, :channels], 3 // channels, 1)


def on_curve(points: np.ndarray, pieces: int) -> np.ndarray:
    """Control points of a line (2, 2) or of a quadratic Bézier (3, 2) → (pieces + 1, 2) points on it."""
    t = np.linspace(0, 1, pieces + 1)[:, None]
    if len(points) == 2:
        return points[0] + t * (points[1] - points[0])
    return (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]


def half_widths(
    centers: np.ndarray, thickness: float, scales: tuple[float, float], pressures: tuple[float, float]
) -> np.ndarray:
    """Half the width (K,) of a stroke at points (K, 2) of its curve, in the unit of `thickness`: dab scales and
    pressures change with the way from start to end."""
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(centers, axis=0), axis=1).cumsum()])
    along = lengths / lengths[-1] if lengths[-1] > 0 else np.linspace(0, 1, len(centers))
    scale, pressure = (np.interp(along, (0, 1), ends) for ends in (scales, pressures))
    return thickness / 2 * scale * pressure
