"""Greedy search: the honest baseline of every painter, after M. Fogleman's `primitive`
(https://github.com/fogleman/primitive, 2016).

For each stroke: `proposals` random ones are painted by the engine; the best is mutated, and what is better is kept,
until `patience` mutations in a row were not. The colour is never searched: for a mask a over the canvas c and the
target y, the squared error Σ(c + a(k − c) − y)² is least at

    k = Σ a(y − c + ac) / Σ a²

The engine is only asked for the mask, so that every brush will do, with its texture and its jitter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numba import njit
from pydantic import Field

from garl.brush.geometry import BRUSH, OPACITY, POINTS_PER_TYPE, START_PRESSURE, STROKE_SIZE, THICKNESS
from garl.commission import Commission
from garl.engine import kernels
from garl.engine.paint import PreparedBrushes, render_strokes, untinted
from garl.evaluate.pixels import mean_squared_error
from garl.settings import Settings


class GreedyConfig(Settings):
    """How hard to search."""

    proposals: int = Field(500, ge=1)
    """Random strokes of which the best is kept."""
    patience: int = Field(100, ge=0)
    """Mutations in a row that may fail before a stroke is painted."""


def unchanged(stroke: np.ndarray) -> np.ndarray:
    return stroke


def greedy(
    asked: Commission,
    config: GreedyConfig = GreedyConfig(),  # noqa: B008, it is frozen
    rounded: Callable[[np.ndarray], np.ndarray] = unchanged,
    white: bool = False,
    parts: np.ndarray | None = None,
) -> np.ndarray:
    """A painter: as many strokes as it may paint, or those that it has when its time is up.

    `rounded` makes of each stroke (14,) that is found the one that is painted, before the next is searched for. With
    `white`, colours are not free: every stroke is white. `parts`: (count, 4) float, left, top, right and bottom of the
    part of the canvas, 0..1, in which the points of each stroke have to lie; the whole canvas if there are none.
    """
    target, ground, count, brush, started = asked.target, asked.ground, asked.count, asked.brush, time.monotonic()
    control, prepared, masking = brush.spec.control, PreparedBrushes(brush), untinted(brush)
    engine = masking.kind, masking.parameters, masking.texture, masking.levels, masking.reach
    ranges = np.array(
        [control.min_thickness, control.max_thickness, control.min_opacity, control.max_opacity], np.float64
    )
    canvas, locked = ground.canvas[None].copy(), ~ground.free
    kept = ground.canvas[:, locked]
    mask = np.zeros((1, 1, *target.shape[1:]), np.uint8)
    strokes = np.zeros((count, STROKE_SIZE), np.float32)
    points = POINTS_PER_TYPE[brush.spec.stroke.type]
    parts = np.tile([0.0, 0.0, 1.0, 1.0], (count, 1)) if parts is None else parts
    _seed(asked.seed)
    for i in range(count):
        number = ground.painted + i
        found = _search(
            canvas[0], target, ground.free, mask, number, ground.seed, points, ranges,
            parts[i], config.proposals, config.patience, white, engine,
        )  # fmt: skip
        strokes[i] = rounded(found)
        render_strokes(canvas, strokes[i : i + 1], np.array([ground.seed]), number, prepared, threads=1)
        canvas[0][:, locked] = kept
        asked.progress((i + 1) / count, i + 1, mean_squared_error(canvas[0], target), canvas[0])
        if asked.seconds is not None and time.monotonic() - started > asked.seconds:
            return strokes[: i + 1]
    return strokes


@njit(cache=True)
def _seed(seed):
    np.random.seed(seed)


@njit(cache=True)
def box(stroke, height, width, kind, parameters, reach):
    """The pixels (left, top, right, bottom) that a stroke of the first brush can touch at full pressure."""
    short = float(min(height, width))
    x, y = width / short, height / short
    left, top, right, bottom = kernels.reached(
        kind, parameters[0], reach[0], float(stroke[THICKNESS]), 1.0, short,
        stroke[0] * x, stroke[1] * y, stroke[2] * x, stroke[3] * y, stroke[4] * x, stroke[5] * y,
    )  # fmt: skip
    return max(0, int(left)), max(0, int(top)), min(width, int(right) + 1), min(height, int(bottom) + 1)


@njit(cache=True)
def _fit(canvas, target, free, mask, stroke, index, seed, white, engine):
    """Give the stroke its best colour, or white; returns the change of the summed squared error, in units of 255²."""
    kind, parameters, texture, levels, reach = engine
    channels, height, width = target.shape
    left, top, right, bottom = box(stroke, height, width, kind, parameters, reach)
    if right <= left or bottom <= top:
        return 0.0
    mask[0, 0, top:bottom, left:right] = 0
    row = stroke.reshape(1, -1)
    row[0, 6:9] = 1.0
    kernels.paint_batch(mask, row, np.array([seed]), index, kind, 1, parameters, texture, levels, reach)
    change = 0.0
    squares = np.int64(0)
    for y in range(top, bottom):
        for x in range(left, right):
            if not free[y, x]:
                mask[0, 0, y, x] = 0
            squares += np.int64(mask[0, 0, y, x]) * np.int64(mask[0, 0, y, x])
    if squares == 0:
        return 0.0
    for channel in range(channels):
        gap_sum, base_sum, base_squares = np.float64(0.0), np.float64(0.0), np.float64(0.0)
        for y in range(top, bottom):
            a, c, t = mask[0, 0, y], canvas[channel, y], target[channel, y]
            gaps, bases, base_square = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for x in range(left, right):
                alpha, old = np.float32(a[x]) * np.float32(1 / 255), np.float32(c[x])
                base = alpha * old
                gaps += alpha * (np.float32(t[x]) - old)
                bases += alpha * base
                base_square += base * base + np.float32(2.0) * base * (np.float32(t[x]) - old)
            gap_sum += gaps
            base_sum += bases
            base_squares += base_square
        total = squares / 65025.0
        best = 255.0 if white else min(255.0, max(0.0, (gap_sum + base_sum) / total))
        stroke[6 + channel] = best / 255.0
        # Σ (e − a(k − c))² − e², with e = y − c and k the colour
        change += best * best * total - 2.0 * best * (gap_sum + base_sum) + base_squares
    return change


@njit(cache=True)
def _within(value, low, high):
    return min(high, max(low, value))


@njit(cache=True)
def _propose(stroke, points, ranges, part):
    """A random stroke: any place in its part, a size between the brush's (uniform in its logarithm), any length."""
    size = ranges[0] * (ranges[1] / ranges[0]) ** np.random.random()
    length = 0.02 * 20.0 ** np.random.random()
    x = part[0] + (part[2] - part[0]) * np.random.random()
    y = part[1] + (part[3] - part[1]) * np.random.random()
    for point in range(3):
        if 0 < point < points:
            x = _within(x + length * np.random.normal(), part[0], part[2])
            y = _within(y + length * np.random.normal(), part[1], part[3])
        stroke[2 * point], stroke[2 * point + 1] = x, y
    stroke[THICKNESS] = size
    stroke[OPACITY] = ranges[2] + (ranges[3] - ranges[2]) * np.random.random()


@njit(cache=True)
def _mutate(stroke, points, ranges, part):
    """Move one point, or change the thickness or the opacity."""
    what = np.random.randint(points + 2)
    if what < points:
        step = 0.1 * np.random.random()
        for axis in range(2):
            moved = _within(stroke[2 * what + axis] + step * np.random.normal(), part[axis], part[axis + 2])
            for point in range(what, 3 if what == points - 1 else what + 1):  # those that are not read repeat the last
                stroke[2 * point + axis] = moved
    elif what == points:
        stroke[THICKNESS] = _within(stroke[THICKNESS] * math.exp(0.3 * np.random.normal()), ranges[0], ranges[1])
    else:
        stroke[OPACITY] = _within(stroke[OPACITY] + 0.15 * np.random.normal(), ranges[2], ranges[3])


@njit(cache=True, nogil=True)
def _search(canvas, target, free, mask, index, seed, points, ranges, part, proposals, patience, white, engine):
    """The stroke (14,) that random proposals and hill climbing find."""
    best, stroke = np.zeros(STROKE_SIZE, np.float32), np.zeros(STROKE_SIZE, np.float32)
    stroke[START_PRESSURE:BRUSH] = 1.0
    best_change, proposed, failures = np.inf, 0, 0
    while proposed < proposals or failures < patience:
        if proposed < proposals:
            _propose(stroke, points, ranges, part)
            proposed += 1
        else:
            stroke[:] = best
            _mutate(stroke, points, ranges, part)
            failures += 1
        change = _fit(canvas, target, free, mask, stroke, index, seed, white, engine)
        if change < best_change:
            best_change, failures = change, 0
            best[:] = stroke
    return best
