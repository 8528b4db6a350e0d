"""The brush engine's strokes once more, so that a gradient flows through them: an analytic twin.

A stroke covers the pixels near its curve: with d the distance to the curve, r the radius and e the width of the edge,

    S(u) = u² (3 − 2u) for u = clip(u, 0, 1)        m = strength · (S((r − d) / e + 1/2) − S((−r − d) / e + 1/2))
    c ← c + opacity · m · (colour − c)

for each stroke in turn. The second S counts only where the stroke is finer than its edge, and cannot cover a pixel.
Pressure goes from start to end in proportion to the curve's parameter, r and e with it; the engine's goes by the length
of the way, which is nearly the same unless the control point lies close to an end. The curve is a polyline of PIECES
pieces, so that d is exact for it, and so is its gradient: the nearest point of a piece does not move along it to first
order (the envelope theorem), so that ∂d/∂point is minus the unit normal, shared out by the point's weight there; only
where pressure changes does it count that it moves. A triangle is filled: inside, d counts as negative.

The backward pass walks the strokes in reverse, over their bounding boxes alone, with what lay under each of them kept
from the forward pass. Texture, jitter and taper have no twin: `tip_of` measures what of a brush has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from garl.brush.geometry import (
    END_PRESSURE,
    OPACITY,
    PLAIN_SIZE,
    POINTS,
    POINTS_PER_TYPE,
    START_PRESSURE,
    STROKE_SIZE,
    THICKNESS,
    fully_pressed,
)
from garl.brush.spec import Brush
from garl.engine.paint import PreparedBrushes, render_strokes

PIECES = 10
"""Straight pieces that stand for a Bézier curve."""
SHARPEST = 1.5
"""Pixels over which the edge of a stroke falls off at least: what looks most like the engine's anti-aliasing."""
FAINTEST = 0.02
"""Strength of the faintest tip."""
FAR = np.float32(1e12)


@dataclass(frozen=True, eq=False)
class Tip:
    """What the twin knows of a brush."""

    weights: np.ndarray  # (K + 1, 3) float32: the polyline's corners as weighted sums of a stroke's three points
    filled: bool  # whether the polyline is closed and filled: a triangle
    radius: float  # of the paint, as a fraction of the thickness
    edge: float  # width of its falling edge, as a fraction of the thickness
    strength: float  # mean alpha in the middle of the stroke, 0..1


def polyline(kind: str) -> np.ndarray:
    """Corners of a stroke type's curve, as weights (K + 1, 3) of its points."""
    if kind == "triangle":
        return np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    if kind == "bezier":
        s = np.linspace(0, 1, PIECES + 1, dtype=np.float32)
        return np.stack([(1 - s) ** 2, 2 * s * (1 - s), s * s], 1)
    return np.eye(3, dtype=np.float32)[[0, POINTS_PER_TYPE[kind] - 1]]


MEASURED = {
    "bezier": (0.1, 0.5, 0.5, 0.5, 0.9, 0.5),
    "line": (0.1, 0.5, 0.9, 0.5, 0.9, 0.5),
    "point": (0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
    "triangle": (0.1, 0.1, 0.9, 0.1, 0.5, 0.9),
}
"""The points of the stroke that a brush is measured by: across the middle, or a triangle about it."""


def tip_of(brush: Brush) -> Tip:
    """The twin's tip that is most like the brush: the profile of a level stroke that the engine paints, by search."""
    kind, side, thickness = brush.spec.stroke.type, 256, min(0.25, brush.spec.control.max_thickness)
    stroke = fully_pressed(np.ones((1, PLAIN_SIZE), np.float32))
    stroke[0, POINTS], stroke[0, THICKNESS] = MEASURED[kind], thickness
    canvas = np.zeros((1, 1, side, side), np.uint8)
    render_strokes(canvas, stroke, np.array([1]), 0, PreparedBrushes(brush))
    if kind == "triangle":
        inside = canvas[0, 0, side // 4 : side // 3, side * 2 // 5 : side * 3 // 5]
        return Tip(polyline(kind), True, 0.0, 0.0, max(FAINTEST, float(inside.mean()) / 255))
    middle = slice(side // 2 - 1, side // 2 + 1) if kind == "point" else slice(side * 3 // 10, side * 7 // 10)
    across = canvas[0, 0, :, middle].mean(1) / 255
    distance = np.abs(np.arange(side) + 0.5 - side / 2) / (side * thickness)
    best, tip = math.inf, Tip(polyline(kind), False, 0.5, 0.1, 1.0)
    for radius in np.linspace(0.1, 0.7, 61):
        for edge in np.geomspace(0.02, 1.4, 30):
            shape = _falloff((radius - distance) / edge + 0.5) - _falloff((-radius - distance) / edge + 0.5)
            strength = float(np.clip(shape @ across / max(shape @ shape, 1e-9), FAINTEST, 1.0))
            gap = float(np.square(strength * shape - across).sum())
            if gap < best:
                best, tip = gap, Tip(polyline(kind), False, float(radius), float(edge), strength)
    return tip


def gap(brush: Brush, tip: Tip, strokes: int = 12) -> float:
    """How unlike the engine the twin paints single strokes: mean |difference in alpha| over the engine's mean alpha."""
    rng, side, prepared = np.random.default_rng(0), 128, PreparedBrushes(brush)
    rows = fully_pressed(np.ones((strokes, PLAIN_SIZE), np.float32))
    rows[:, POINTS] = rng.uniform(0.2, 0.8, (strokes, 6))
    for point in range(POINTS_PER_TYPE[brush.spec.stroke.type], 3):
        rows[:, 2 * point : 2 * point + 2] = rows[:, 2 * point - 2 : 2 * point]
    rows[:, THICKNESS] = min(0.15, brush.spec.control.max_thickness)
    differing = covered = 0.0
    for i in range(strokes):
        canvas = np.zeros((1, 1, side, side), np.uint8)
        render_strokes(canvas, rows[i : i + 1], np.array([1]), i, prepared)
        twin = paint(torch.from_numpy(rows[i : i + 1]), torch.zeros(3, side, side), tip)[0].numpy()
        differing += float(np.abs(twin - canvas[0, 0] / 255).sum())
        covered += float(canvas.sum()) / 255
    return differing / max(covered, 1e-9)


def _falloff(u: np.ndarray) -> np.ndarray:
    u = np.clip(u, 0, 1)
    return u * u * (3 - 2 * u)


@njit(cache=True, error_model="numpy")
def _outline(stroke, weights, height, width, radius, edge, corners):
    """Fill `corners` (K + 1, 2) in pixels. Returns the box (left, top, right, bottom) of pixels that the stroke can
    touch, and how far from the curve that is."""
    short = min(height, width)
    low_x = low_y = np.float32(FAR)
    high_x = high_y = np.float32(-FAR)
    for k in range(len(weights)):
        a, b, c = weights[k]
        x, y = (
            (a * stroke[0] + b * stroke[2] + c * stroke[4]) * width,
            (a * stroke[1] + b * stroke[3] + c * stroke[5]) * height,
        )
        corners[k, 0], corners[k, 1] = x, y
        low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    widest = short * stroke[THICKNESS] * max(stroke[START_PRESSURE], stroke[END_PRESSURE])
    margin = radius * widest + 0.5 * max(SHARPEST, edge * widest)
    left, top = max(0, int(math.floor(low_x - margin))), max(0, int(math.floor(low_y - margin)))
    right, bottom = min(width, int(math.ceil(high_x + margin))), min(height, int(math.ceil(high_y + margin)))
    return left, top, max(left, right), max(top, bottom), margin


@njit(cache=True, nogil=True, error_model="numpy")
def boxes(strokes, weights, height, width, radius, edge):
    """The boxes of strokes (T, 14): (T, 5) int64 of left, top, right, bottom and the pixels of all boxes before."""
    found = np.empty((len(strokes), 5), np.int64)
    corners = np.empty((len(weights), 2), np.float32)
    before = 0
    for i in range(len(strokes)):
        left, top, right, bottom, _ = _outline(strokes[i], weights, height, width, radius, edge, corners)
        found[i] = left, top, right, bottom, before
        before += (right - left) * (bottom - top)
    return found


@njit(cache=True, fastmath=True, error_model="numpy")
def _measure(corners, filled, left, top, right, bottom, reach, nearest, along):
    """Fill `nearest` with squared distances from the box's pixels to the polyline, negative inside what is `filled`,
    and `along` with the piece and the fraction of it where the nearest point lies."""
    box_width = right - left
    zero, one = np.float32(0.0), np.float32(1.0)
    for k in range((bottom - top) * box_width):
        nearest[k] = FAR
        along[k] = zero
    for piece in range(len(corners) - 1):
        ax, ay = corners[piece, 0], corners[piece, 1]
        ex, ey = corners[piece + 1, 0] - ax, corners[piece + 1, 1] - ay
        inverse = one / max(ex * ex + ey * ey, np.float32(1e-12))
        first_x, last_x, first_y, last_y = left, right, top, bottom
        if not filled:
            first_x = max(left, int(min(ax, ax + ex) - reach))
            last_x = min(right, int(max(ax, ax + ex) + reach) + 1)
            first_y = max(top, int(min(ay, ay + ey) - reach))
            last_y = min(bottom, int(max(ay, ay + ey) + reach) + 1)
        start = np.float32(piece)
        for y in range(first_y, last_y):
            py = np.float32(y) + np.float32(0.5) - ay
            row = (y - top) * box_width - left
            for x in range(first_x, last_x):
                px = np.float32(np.int32(x)) + np.float32(0.5) - ax
                f = min(one, max(zero, (px * ex + py * ey) * inverse))
                dx, dy = px - f * ex, py - f * ey
                squared = dx * dx + dy * dy
                closer = squared < nearest[row + x]
                along[row + x] = start + f if closer else along[row + x]
                nearest[row + x] = squared if closer else nearest[row + x]
    if filled:
        for y in range(top, bottom):
            for x in range(left, right):
                if _inside(corners, x + 0.5, y + 0.5):
                    nearest[(y - top) * box_width + x - left] *= -one


@njit(cache=True)
def _inside(corners, x, y):
    """Whether (x, y) lies in the triangle."""
    right_of = 0
    for k in range(3):
        ex, ey = corners[k + 1, 0] - corners[k, 0], corners[k + 1, 1] - corners[k, 1]
        right_of += 1 if ex * (y - corners[k, 1]) - ey * (x - corners[k, 0]) > 0.0 else 0
    return right_of == 0 or right_of == 3


@njit(cache=True, error_model="numpy")
def _widths(stroke, corners):
    """The stroke's thickness under its start pressure, and what every piece of a polyline with so many corners adds."""
    first, last = stroke[THICKNESS] * stroke[START_PRESSURE], stroke[THICKNESS] * stroke[END_PRESSURE]
    return first, (last - first) / np.float32(corners - 1)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def forward(strokes, canvas, found, weights, filled, radius, edge, strength, cover, along, under):
    """Paint strokes (T, 14) onto `canvas` (3, H, W) float32, in place.

    found (T, 5): their `boxes`. For each pixel of the boxes: cover (N,) the m of the equation above, along (N,) the
    nearest place of the curve, under (3, N) the canvas before.
    """
    _, height, width = canvas.shape
    corners, short = np.empty((len(weights), 2), np.float32), min(height, width)
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    two, three, full = np.float32(2.0), np.float32(3.0), np.float32(strength)
    thick, soft, sharpest = np.float32(radius * short), np.float32(edge * short), np.float32(SHARPEST)
    for i in range(len(strokes)):
        left, top, right, bottom, start = found[i]
        box_width = right - left
        end = start + box_width * (bottom - top)
        reach = np.float32(_outline(strokes[i], weights, height, width, radius, edge, corners)[4])
        places, covered = along[start:end], cover[start:end]
        _measure(corners, filled, left, top, right, bottom, reach, covered, places)
        first, rise = _widths(strokes[i], len(corners))
        for k in range(end - start):
            squared = covered[k]
            distance = math.sqrt(squared) if squared >= zero else -math.sqrt(-squared)
            wide = first + rise * places[k]
            r, inverse = thick * wide, one / max(sharpest, soft * wide)
            u = min(one, max(zero, (r - distance) * inverse + half))
            v = zero if filled else min(one, max(zero, (-r - distance) * inverse + half))
            covered[k] = full * (u * u * (three - two * u) - v * v * (three - two * v))
        opacity = strokes[i, OPACITY]
        for channel in range(3):
            color = strokes[i, 6 + channel]
            for y in range(top, bottom):
                row, kept = canvas[channel, y], under[channel]
                at = (y - top) * box_width
                for x in range(box_width):
                    old = row[left + x]
                    kept[start + at + x] = old
                    row[left + x] = old + opacity * covered[at + x] * (color - old)


@njit(cache=True, nogil=True, error_model="numpy")
def backward(strokes, slope, found, weights, filled, radius, edge, strength, cover, along, under):
    """Gradient (T, 14) of a loss whose gradient with respect to the canvas is `slope` (3, H, W), which is used up.

    The other arguments are those of `forward`, as it left them.
    """
    _, height, width = slope.shape
    gradient = np.zeros((len(strokes), STROKE_SIZE), np.float32)
    corners, short = np.empty((len(weights), 2), np.float32), min(height, width)
    pulls, last = np.empty((len(weights), 2), np.float64), len(weights) - 1
    for i in range(len(strokes) - 1, -1, -1):
        left, top, right, bottom, k = found[i]
        _outline(strokes[i], weights, height, width, radius, edge, corners)
        first, rise = _widths(strokes[i], len(corners))
        opacity, full = strokes[i, OPACITY], np.float32(strength)
        red, green, blue = strokes[i, 6], strokes[i, 7], strokes[i, 8]
        to_red = to_green = to_blue = to_opacity = to_first = to_rise = 0.0
        pulls[:] = 0.0
        for y in range(top, bottom):
            for x in range(left, right):
                m = cover[k]
                if m > 0.0:
                    alpha = opacity * m
                    g0, g1, g2 = slope[0, y, x], slope[1, y, x], slope[2, y, x]
                    to_red += g0 * alpha
                    to_green += g1 * alpha
                    to_blue += g2 * alpha
                    to_alpha = g0 * (red - under[0, k]) + g1 * (green - under[1, k]) + g2 * (blue - under[2, k])
                    rest = np.float32(1.0) - alpha
                    slope[0, y, x], slope[1, y, x], slope[2, y, x] = g0 * rest, g1 * rest, g2 * rest
                    to_opacity += to_alpha * m
                    if m < full:
                        piece = min(int(along[k]), last - 1)
                        f = along[k] - np.float32(piece)
                        ax, ay = corners[piece, 0], corners[piece, 1]
                        ex, ey = corners[piece + 1, 0] - ax, corners[piece + 1, 1] - ay
                        px, py = np.float32(x) + np.float32(0.5) - ax, np.float32(y) + np.float32(0.5) - ay
                        dx, dy = px - f * ex, py - f * ey
                        distance = math.sqrt(dx * dx + dy * dy)
                        sign = -1.0 if filled and _inside(corners, x + 0.5, y + 0.5) else 1.0
                        wide = first + rise * along[k]
                        r, e, de = radius * short * wide, edge * short * wide, edge * short
                        if e < SHARPEST:
                            e, de = SHARPEST, 0.0
                        u, v = (r - sign * distance) / e + 0.5, (-r - sign * distance) / e + 0.5
                        to_u = to_alpha * opacity * full * 6.0 * u * (1.0 - u) / e if u < 1.0 else 0.0
                        to_v = to_alpha * opacity * full * 6.0 * v * (v - 1.0) / e if v > 0.0 and not filled else 0.0
                        to_wide = (to_u - to_v) * radius * short - (to_u * (u - 0.5) + to_v * (v - 0.5)) * de
                        to_first += to_wide
                        to_rise += to_wide * along[k]
                        if distance > 1e-6:
                            pull = sign * (to_u + to_v) / distance
                            pulls[piece, 0] += pull * dx * (1.0 - f)
                            pulls[piece, 1] += pull * dy * (1.0 - f)
                            pulls[piece + 1, 0] += pull * dx * f
                            pulls[piece + 1, 1] += pull * dy * f
                        if rise != 0.0 and 0.0 < f < 1.0:  # the nearest place moves to where it is wider
                            push = to_wide * rise / (ex * ex + ey * ey)
                            pulls[piece, 0] += push * ((2.0 * f - 1.0) * ex - px)
                            pulls[piece, 1] += push * ((2.0 * f - 1.0) * ey - py)
                            pulls[piece + 1, 0] += push * (px - 2.0 * f * ex)
                            pulls[piece + 1, 1] += push * (py - 2.0 * f * ey)
                k += 1
        for corner in range(len(corners)):
            for point in range(3):
                gradient[i, 2 * point] += weights[corner, point] * pulls[corner, 0] * width
                gradient[i, 2 * point + 1] += weights[corner, point] * pulls[corner, 1] * height
        thickness, start, end = strokes[i, THICKNESS], strokes[i, START_PRESSURE], strokes[i, END_PRESSURE]
        to_start, to_end = to_first - to_rise / last, to_rise / last
        gradient[i, THICKNESS] = to_start * start + to_end * end
        gradient[i, START_PRESSURE], gradient[i, END_PRESSURE] = to_start * thickness, to_end * thickness
        gradient[i, 6], gradient[i, 7], gradient[i, 8] = to_red, to_green, to_blue
        gradient[i, OPACITY] = to_opacity
    return gradient


def _room(rows: np.ndarray, canvas: Tensor, tip: Tip) -> tuple:
    """What `forward` takes beside strokes (T, 14) and canvas: their boxes, the tip, and room for what it leaves."""
    found = boxes(rows, tip.weights, *canvas.shape[1:], tip.radius, tip.edge)
    pixels = int(found[-1, 4] + (found[-1, 2] - found[-1, 0]) * (found[-1, 3] - found[-1, 1])) if len(rows) else 0
    cover, along, under = (np.empty(size, np.float32) for size in (pixels, pixels, (3, pixels)))
    return found, tip.weights, tip.filled, tip.radius, tip.edge, tip.strength, cover, along, under


class _Twin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, strokes: Tensor, background: Tensor, tip: Tip) -> Tensor:
        ctx.rows = np.ascontiguousarray(strokes.detach().numpy())
        canvas = background.detach().clone(memory_format=torch.contiguous_format)
        ctx.rest = _room(ctx.rows, canvas, tip)
        forward(ctx.rows, canvas.numpy(), *ctx.rest)
        return canvas

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        slope = slopes[0].clone(memory_format=torch.contiguous_format)
        gradient = backward(ctx.rows, slope.numpy(), *ctx.rest)
        return torch.from_numpy(gradient), slope, None  # what is left of the slope reaches the background


def paint(strokes: Tensor, background: Tensor, tip: Tip, free: Tensor | None = None) -> Tensor:
    """The canvas (3, H, W) float32, 0..1, after strokes (T, 14) float32 on `background` (3, H, W); differentiable.

    Where it is not `free` (H, W) bool, the background is put back; once at the end, as no pixel depends on another.
    """
    assert strokes.ndim == 2
    assert strokes.shape[1] == STROKE_SIZE
    assert background.shape[0] == 3
    canvas = _Twin.apply(strokes.float(), background.float(), tip)
    return canvas if free is None else torch.where(free, canvas, background)


def worth(strokes: Tensor, picture: Tensor, background: Tensor, tip: Tip, free: Tensor | None = None) -> Tensor:
    """By how much (T,) the summed squared error to `picture` (3, H, W), where it is `free` (H, W) bool, would grow
    without each of strokes (T, 14)."""
    rows, canvas = np.ascontiguousarray(strokes.numpy()), background.clone(memory_format=torch.contiguous_format)
    found, *rest = _room(rows, canvas, tip)
    forward(rows, canvas.numpy(), found, *rest)
    through = (torch.ones(picture.shape[1:]) if free is None else free.float()).numpy()
    return torch.from_numpy(removal(rows, (canvas - picture).numpy(), found, rest[5], rest[7], through))


@njit(cache=True, nogil=True, error_model="numpy")
def removal(strokes, residual, found, cover, under, through):
    """What each stroke's removal adds to the sum of `residual` (3, H, W) squared; the rest is as `forward` left it.

    through (H, W) float32 is used up: 1 where the canvas is free, 0 where no stroke shows.
    A stroke changed the final canvas by δ = (what later ones let through) · alpha · (colour − under), and without it
    the residual r would be r − δ: the sum grows by Σ δ² − 2rδ.
    """
    added = np.zeros(len(strokes), np.float32)
    for i in range(len(strokes) - 1, -1, -1):
        left, top, right, bottom, k = found[i]
        total = 0.0
        for y in range(top, bottom):
            for x in range(left, right):
                alpha = strokes[i, OPACITY] * cover[k]
                if alpha > 0.0:
                    for channel in range(3):
                        change = through[y, x] * alpha * (strokes[i, 6 + channel] - under[channel, k])
                        total += change * (change - np.float32(2.0) * residual[channel, y, x])
                    through[y, x] *= np.float32(1.0) - alpha
                k += 1
        added[i] = total
    return added
