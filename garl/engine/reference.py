"""`garl.engine.kernels` once more, as slow arithmetic on whole pictures. The tests hold the two equal."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from garl.brush.geometry import BRUSH, COLOR, END_PRESSURE, OPACITY, POINTS, START_PRESSURE, THICKNESS
from garl.engine import kernels
from garl.engine.paint import PreparedBrush, PreparedBrushes


def render_strokes_slow(
    canvas: np.ndarray,
    strokes: np.ndarray,
    seeds: np.ndarray,
    index: int,
    brushes: PreparedBrushes,
    render_scale: int = 1,
) -> None:
    """What `garl.engine.paint.render_strokes` does, to within 1/255."""
    for picture, stroke, seed in zip(canvas, strokes.astype(np.float64), seeds, strict=True):
        _paint(picture, stroke, int(seed), index, brushes.each[int(stroke[BRUSH])], render_scale)


def _paint(picture: np.ndarray, stroke: np.ndarray, seed: int, index: int, brush: PreparedBrush, scale: int) -> None:
    """Paint one stroke (14,) onto one picture (C, H, W) uint8, in place."""
    channels, height, width = picture.shape
    shape = (height * scale, width * scale)
    short = min(shape)
    points = stroke[POINTS].reshape(3, 2) * (shape[1], shape[0])  # in pixels of the layer
    if brush.kind == kernels.TRIANGLE:
        fade = 1 - brush.parameters[kernels.JITTER_OPACITY] * _uniform(seed, index, np.zeros(1), 4)[0]
        alpha = brush.parameters[kernels.FLOW] * fade * _triangle(shape, points)
        color = np.broadcast_to(stroke[COLOR], (*shape, 3))
    else:
        alpha, color = _dabs(shape, stroke, points, seed, index, brush)
    blur, noise, edge = brush.parameters[[kernels.BLUR, kernels.NOISE, kernels.EDGE_BLEND]]
    if blur > 0:
        sigma = max(1e-3, blur * stroke[THICKNESS] * short)
        alpha = gaussian_filter(alpha, sigma, mode="constant", radius=int(np.ceil(3 * sigma)))
    row, column = ((np.arange(n) + 0.5) / short * kernels.NOISE_CELLS // 1 for n in shape)
    alpha = alpha * (1 - noise * _uniform(seed, index, row[:, None] * 65536 + column, 0))
    alpha = alpha * ((1 - edge) + edge * alpha)

    def averaged_down(layer: np.ndarray) -> np.ndarray:  # (H·scale, W·scale, …) → (H, W, …)
        return layer.reshape(height, scale, width, scale, *layer.shape[2:]).mean((1, 3))

    coverage = averaged_down(alpha)[..., None] * stroke[OPACITY]
    paint = averaged_down(alpha[..., None] * color) * stroke[OPACITY]  # premultiplied
    old = picture.transpose(1, 2, 0)
    picture[:] = np.floor(old * (1 - coverage) + 255 * paint[..., :channels] + 0.5).transpose(2, 0, 1)


def _dabs(
    shape: tuple[int, int], stroke: np.ndarray, points: np.ndarray, seed: int, index: int, brush: PreparedBrush
) -> tuple[np.ndarray, np.ndarray]:
    """The stroke's layer: alpha (H, W) and colour (H, W, 3)."""
    p, short = brush.parameters, min(shape)
    # Arc length, and the parameters s that lie equally spaced along it.
    knots = np.linspace(0, 1, kernels.SEGMENTS + 1)
    steps = np.hypot(*np.diff(_curve(knots, points, brush.kind)[0], axis=0).T)
    lengths = np.concatenate([[0], np.cumsum(steps)])
    # Where the brush is pressed with p, dabs lie p · spacing apart; so the n-th dab's p is a geometric sequence.
    spacing = p[kernels.STEP] * stroke[THICKNESS] / 2 * short
    start, end = stroke[START_PRESSURE], stroke[END_PRESSURE]
    a, b = np.maximum((start, end), kernels.LIGHTEST)
    crowding = 1 / a if a == b else np.log(b / a) / (b - a)
    n = 1 + min(kernels.MAX_DABS - 1, int(np.ceil(lengths[-1] * crowding / spacing - 1e-6)))
    fraction = np.linspace(0, 1, n) if a == b else (np.geomspace(a, b, n) - a) / (b - a)
    centre, tangent = _curve(np.interp(fraction * lengths[-1], lengths, knots), points, brush.kind)

    def jitter(k: int) -> np.ndarray:  # (n,), from −1 to 1
        return 2 * _uniform(seed, index, np.arange(n), k) - 1

    angle = np.arctan2(tangent[:, 1], tangent[:, 0]) * p[kernels.FOLLOW] + jitter(0) * p[kernels.JITTER_ROTATION]
    ramp = p[kernels.START_SCALE] + (p[kernels.END_SCALE] - p[kernels.START_SCALE]) * fraction
    ramp = ramp * (start + (end - start) * fraction)
    size = stroke[THICKNESS] * short * ramp * (1 + jitter(1) * p[kernels.JITTER_SCALE])
    displaced = np.stack([jitter(2), jitter(3)], 1) * p[kernels.JITTER_POSITION] * stroke[THICKNESS] * short
    strength = 1 - p[kernels.JITTER_OPACITY] * (jitter(4) + 1) / 2
    tint = np.stack([jitter(5), jitter(6), jitter(7)], 1) * p[kernels.JITTER_COLOR]
    tint = np.clip(stroke[COLOR] + tint, 0, 1)
    strength, size = strength * np.minimum(size, 1), np.maximum(size, 1)  # no dab is thinner than a pixel

    alpha, color = np.zeros(shape), np.broadcast_to(stroke[COLOR], (*shape, 3))
    for i in range(n):
        texture = strength[i] * _texture(shape, centre[i] + displaced[i], size[i], angle[i], brush)
        flow = p[kernels.FLOW] * texture
        total = flow + alpha * (1 - flow)
        share = np.divide(flow, total, out=np.zeros(shape), where=total > 0)
        color = color + (tint[i] - color) * share[..., None]
        alpha = alpha + p[kernels.FLOW] * np.maximum(0, texture - alpha)
    return alpha, color


def _curve(s: np.ndarray, points: np.ndarray, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and tangents, (n, 2) each, at the parameters s (n,)."""
    start, second, third = points
    s = s[:, None]
    if kind == kernels.BEZIER:
        tangent = (1 - s) * (second - start) + s * (third - second)
        vanishes = np.hypot(*tangent.T)[:, None] < 1e-6
        return (
            (1 - s) ** 2 * start + 2 * (1 - s) * s * second + s**2 * third,
            np.where(vanishes, third - start, tangent),
        )
    end = second if kind == kernels.LINE else start
    return start + s * (end - start), np.broadcast_to(end - start, (len(s), 2))


def _texture(shape: tuple[int, int], centre: np.ndarray, size: float, angle: float, brush: PreparedBrush) -> np.ndarray:
    """The texture (H, W), `size` pixels wide and turned clockwise, from the finest mip level that may be read."""
    fits = (i for i, (_, side) in enumerate(brush.levels) if side <= kernels.TEXELS_PER_PIXEL * size)
    offset, side = brush.levels[next(fits, -1)]
    words = brush.texture[offset : offset + (side + 2) ** 2].reshape(side + 2, side + 2)
    level = (words & 255) / 255  # the lowest byte of a word is the texel itself
    y, x = np.indices(shape) + 0.5
    dx, dy = (x - centre[0]) * side / size, (y - centre[1]) * side / size
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = np.cos(angle) * dy - np.sin(angle) * dx
    return map_coordinates(level, [v + (side + 1) / 2, u + (side + 1) / 2], order=1, output=np.float64)


def _triangle(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Coverage (H, W): a pixel less what each of the three edges cuts off."""
    y, x = np.indices(shape) + 0.5
    (ax, ay), (bx, by), (cx, cy) = points
    turn = 1 if (bx - ax) * (cy - ay) >= (cx - ax) * (by - ay) else -1
    coverage = np.ones(shape)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        length = np.hypot(bx - ax, by - ay) + 1e-9
        inside = turn * ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length
        coverage -= 1 - np.clip(inside + 0.5, 0, 1)
    return np.maximum(coverage, 0)


def _uniform(seed: int, stroke: int, dab: np.ndarray, k: int) -> np.ndarray:
    """Numbers in [0, 1), one for each of `dab`: the finaliser of splitmix64."""
    word = np.uint64
    h: np.ndarray = (dab.astype(word) * word(8) + word(k)) * word(0xC2B2AE3D27D4EB4F)
    h = h ^ word(seed ^ (stroke * 0x9E3779B97F4A7C15 % 2**64))
    h = (h ^ (h >> word(30))) * word(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> word(27))) * word(0x94D049BB133111EB)
    h = h ^ (h >> word(31))
    return (h >> word(40)).astype(np.float64) / 2**24
