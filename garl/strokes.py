"""What can be done with strokes once they exist: pure functions of strokes (T, 14), see `garl.brush.geometry`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from garl.brush.geometry import COLOR, END_PRESSURE, OPACITY, POINTS, POINTS_PER_TYPE, START_PRESSURE, THICKNESS
from garl.errors import GarlError
from garl.palette import find_palette, nearest

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a canvas, in pixels."""

COLORS = 16
"""Groups that strokes are ordered in by colour, at most."""
TILES = 4
"""Regions along each side of the canvas."""


def as_painted(strokes: np.ndarray, kind: str) -> np.ndarray:
    return np.arange(len(strokes))


def coarse_to_fine(strokes: np.ndarray, kind: str) -> np.ndarray:
    """The thickest first; of triangles, which have no thickness, the largest."""
    size = strokes[:, THICKNESS] * strokes[:, [START_PRESSURE, END_PRESSURE]].max(1)
    if kind == "triangle":
        x, y = strokes[:, POINTS].astype(np.float64).reshape(-1, 3, 2).transpose(2, 1, 0)
        size = np.abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    return np.argsort(-size, kind="stable")


def by_color(strokes: np.ndarray, kind: str) -> np.ndarray:
    """Colour after colour, the lightest first."""
    return np.argsort(nearest(strokes[:, COLOR], find_palette(strokes[:, COLOR], COLORS)), kind="stable")


def by_region(strokes: np.ndarray, kind: str) -> np.ndarray:
    """Tile after tile of the canvas, in rows that run to and fro."""
    middle = _middle(strokes, kind)
    column, row = np.minimum((middle * TILES).astype(int), TILES - 1).T
    return np.argsort(row * TILES + np.where(row % 2, TILES - 1 - column, column), kind="stable")


ORDERS: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "as-painted": as_painted,
    "coarse-to-fine": coarse_to_fine,
    "colour": by_color,
    "region": by_region,
}
"""(strokes (T, 14), stroke type) → the order to lay them in, (T,). Strokes that do not differ stay as painted."""


def areas(strokes: np.ndarray) -> np.ndarray:
    """About how much each stroke paints, (T,), above 0: the way by its points, and its width."""
    way = np.linalg.norm(np.diff(strokes[:, POINTS].reshape(-1, 3, 2), axis=1), axis=2).sum(1)
    return (way + strokes[:, THICKNESS]) * strokes[:, THICKNESS] * strokes[:, OPACITY] + 1e-9


def fitted(strokes: np.ndarray, old: str, new: str) -> np.ndarray:
    """The strokes of brushes of one stroke type for a brush of another: points move where the new one reads them.

    A curve becomes the line between its ends, a line a straight curve, and anything a point in its middle. Raises
    GarlError where a triangle would have no area.
    """
    if new == "triangle" and POINTS_PER_TYPE[old] < 3:
        raise GarlError(f"the strokes are {old}s, of which no triangle can be made: choose a brush of another type")
    strokes = strokes.copy()
    start, end = strokes[:, 0:2], strokes[:, 2 * POINTS_PER_TYPE[old] - 2 : 2 * POINTS_PER_TYPE[old]]
    if new == "line":
        strokes[:, POINTS] = np.concatenate([start, end, end], 1)
    elif new == "bezier" and old == "line":
        strokes[:, POINTS] = np.concatenate([start, (start + end) / 2, end], 1)
    elif new == "point":
        strokes[:, POINTS] = np.tile(_middle(strokes, old), 3)
    return strokes


def rightwards(strokes: np.ndarray, kind: str) -> np.ndarray:
    """The strokes with those that end left of where they begin painted backwards; a brush without jitter paints about
    the same."""
    last, backwards = POINTS_PER_TYPE[kind] - 1, strokes.copy()
    backwards[:, POINTS] = strokes[:, POINTS].reshape(-1, 3, 2)[:, [last, last - 1, 0]].reshape(-1, 6)
    backwards[:, [START_PRESSURE, END_PRESSURE]] = strokes[:, [END_PRESSURE, START_PRESSURE]]
    return np.where(strokes[:, [2 * last]] < strokes[:, [0]], backwards, strokes)


def _middle(strokes: np.ndarray, kind: str) -> np.ndarray:
    """The mean (T, 2) of the points that the stroke type reads."""
    return strokes[:, POINTS].reshape(-1, 3, 2)[:, : POINTS_PER_TYPE[kind]].mean(1)


def placed(strokes: np.ndarray, box: Box, canvas: tuple[int, ...], seen: tuple[int, int]) -> np.ndarray:
    """Strokes (T, 14) that were painted on `seen` (height, width) pixels, laid into a box of a canvas (height, width).

    A box of another shape stretches where they lie; their thickness grows by the geometric mean of both directions.
    """
    (left, top, right, bottom), (height, width) = box, canvas
    placed = strokes.astype(np.float64)
    placed[:, POINTS] *= np.tile([right - left, bottom - top], 3)
    placed[:, POINTS] += np.tile([left, top], 3)
    placed[:, POINTS] /= np.tile([width, height], 3)
    larger = np.sqrt((bottom - top) / seen[0] * (right - left) / seen[1])
    placed[:, THICKNESS] *= larger * min(seen) / min(height, width)
    placed[:, THICKNESS] = placed[:, THICKNESS].clip(0.0, 1.0)
    return placed.astype(np.float32)
