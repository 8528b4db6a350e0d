"""Strokes to pixels on the CPU: one pass over each stroke's bounding box, parallel over canvases.

How a stroke is drawn (`garl.engine.reference` says the same slowly, in NumPy):

1. Dabs lie at equal arc length along the curve; each knows its angle and its fraction of the way (thesis §4.1).
2. A dab raises the stroke layer's alpha a toward the texture's alpha t where that is higher:
   a ← a + flow · max(0, t − a). With flow 1 this is the union of the dabs, so that anti-aliased edges stay
   anti-aliased however close the dabs lie; with less flow the paint builds up. Where the dabs differ in
   colour, the later one is painted over the earlier.
3. The layer is blurred, grained, faded at its edge, averaged down from the render scale, and composited onto
   the uint8 canvas ONCE, with the stroke's opacity: c ← c + opacity · a · (colour − c).

Anti-aliasing at render scale 1 comes from the texture's mip levels: a texel of the level that is read is a third
to two thirds of a pixel, so that bilinear reading integrates the texture over about the pixel's area.

All geometry is in units of the canvas's shorter side until the last moment, and every random number is a hash
of (painting's seed, stroke, dab): the same strokes give the same picture at any size, on any number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange, uint32, uint64

from garl.brush.geometry import OPACITY, THICKNESS

SEGMENTS = 48
"""Straight pieces that stand for a Bézier curve when its arc length is measured."""
MAX_DABS = 4096
TEXELS_PER_PIXEL = 2.84
"""The finest mip level that is read. A coarser one would lose paint: the union of averages is less than the average
of the union. A finer one would alias."""
NOISE_CELLS = 256.0
"""Grain of `noise`: cells per shorter side, so that it does not change with the resolution."""

# Columns of the brush's float parameters, as `garl.engine.paint` packs them.
(
    FLOW,
    STEP,
    START_SCALE,
    END_SCALE,
    JITTER_SCALE,
    JITTER_ROTATION,
    JITTER_POSITION,
    JITTER_COLOR,
    JITTER_OPACITY,
    BLUR,
    NOISE,
    EDGE_BLEND,
) = range(12)

BEZIER, LINE, TRIANGLE, POINT = range(4)


@njit(cache=True, inline="always")
def _uniform(seed: int, stroke: int, dab: int, k: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments (the finaliser of splitmix64)."""
    h = uint64(seed) ^ (uint64(stroke) * uint64(0x9E3779B97F4A7C15))
    h ^= (uint64(dab) * uint64(8) + uint64(k)) * uint64(0xC2B2AE3D27D4EB4F)
    h = (h ^ (h >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> uint64(27))) * uint64(0x94D049BB133111EB)
    h ^= h >> uint64(31)
    return float(h >> uint64(40)) * (1.0 / 16777216.0)


@njit(cache=True, fastmath=True, error_model="numpy")
def _stamp(layer, color, tinted, r, g, b, cx, cy, diameter, cosine, sine, alpha, flow, texture, offset, side, reach):
    """Raise `layer` (h, w) by one dab centred on pixel coordinates (cx, cy); tint `color` (h, w, 3) if `tinted`.

    `texture[offset:]` holds one mip level, (side + 2)² with a border of zeros; beyond `reach` from the centre, in
    units of the diameter, it reads as nothing.
    """
    height, width = layer.shape
    row = np.int32(side + 2)
    level = texture[offset:]
    alpha, flow, r, g, b = np.float32(alpha), np.float32(flow), np.float32(r), np.float32(g), np.float32(b)
    per_pixel = side / diameter
    du, dv = cosine * per_pixel, -sine * per_pixel
    step_u, step_v = np.float32(du), np.float32(dv)
    radius = reach * diameter
    y_first = max(0, int(math.ceil(cy - radius - 0.5)))
    y_last = min(height - 1, int(math.floor(cy + radius - 0.5)))
    low, high = 0.0, side + 0.999
    for y in range(y_first, y_last + 1):
        dy = y + 0.5 - cy
        half = math.sqrt(max(0.0, radius * radius - dy * dy))
        x0, x1 = cx - half - 0.5, cx + half - 0.5
        # u and v at x = 0, in texels of the bordered level; keep the x for which both lie inside it.
        u = (sine * dy + cosine * (0.5 - cx)) * per_pixel + 0.5 * side + 0.5
        v = (cosine * dy - sine * (0.5 - cx)) * per_pixel + 0.5 * side + 0.5
        if du > 1e-6 or du < -1e-6:
            a, c = (low - u) / du, (high - u) / du
            x0, x1 = max(x0, min(a, c)), min(x1, max(a, c))
        elif u < low or u > high:
            continue
        if dv > 1e-6 or dv < -1e-6:
            a, c = (low - v) / dv, (high - v) / dv
            x0, x1 = max(x0, min(a, c)), min(x1, max(a, c))
        elif v < low or v > high:
            continue
        first, last = max(0, int(math.ceil(x0))), min(width - 1, int(math.floor(x1)))
        u_first, v_first = np.float32(u + du * first), np.float32(v + dv * first)
        line = layer[y]
        for x in range(first, last + 1):
            steps = np.float32(x - first)
            uu, vv = u_first + step_u * steps, v_first + step_v * steps
            iu, iv = np.int32(uu), np.int32(vv)
            fu, fv = uu - np.float32(iu), vv - np.float32(iv)
            at = uint64(uint32(iv * row + iu))
            below = at + uint64(row)
            top = level[at] + (level[at + uint64(1)] - level[at]) * fu
            bottom = level[below] + (level[below + uint64(1)] - level[below]) * fu
            t = (top + (bottom - top) * fv) * alpha
            old = line[uint64(x)]
            line[uint64(x)] = old + flow * max(np.float32(0.0), t - old)
            paint = t * flow
            if tinted and paint > np.float32(0.0):
                weight = paint / (paint + old * (np.float32(1.0) - paint))
                tint = color[y, x]
                tint[0] += (r - tint[0]) * weight
                tint[1] += (g - tint[1]) * weight
                tint[2] += (b - tint[2]) * weight


@njit(cache=True, inline="always")
def _kept_by_edge(px, py, ax, ay, bx, by):
    """How much of the pixel around (px, py) lies to the right of the line a → b (y points down), 0..1."""
    ex, ey = bx - ax, by - ay
    distance = (ex * (py - ay) - ey * (px - ax)) / (math.sqrt(ex * ex + ey * ey) + 1e-9)
    return min(1.0, max(0.0, distance + 0.5))


@njit(cache=True, fastmath=True)
def _fill_triangle(layer, x0, y0, x1, y1, x2, y2, alpha):
    """Cover `layer` by a triangle: the area that its three edges leave of each pixel, so that a sliver fades out."""
    if (x1 - x0) * (y2 - y0) < (x2 - x0) * (y1 - y0):
        x1, y1, x2, y2 = x2, y2, x1, y1
    for y in range(layer.shape[0]):
        for x in range(layer.shape[1]):
            px, py = x + 0.5, y + 0.5
            covered = (
                _kept_by_edge(px, py, x0, y0, x1, y1)
                + _kept_by_edge(px, py, x1, y1, x2, y2)
                + _kept_by_edge(px, py, x2, y2, x0, y0)
            )
            layer[y, x] = alpha * max(0.0, covered - 2.0)


@njit(cache=True, fastmath=True)
def _blur(layer, sigma):
    """Gaussian blur of `layer` (h, w) in place, `sigma` in pixels, cut off at 3 sigma."""
    reach = int(math.ceil(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    height, width = layer.shape
    rows = np.zeros_like(layer)
    for y in range(height):
        for x in range(width):
            total = np.float32(0.0)
            for k in range(max(-reach, -x), min(reach, width - 1 - x) + 1):
                total += kernel[k + reach] * layer[y, x + k]
            rows[y, x] = total
    for y in range(height):
        for x in range(width):
            total = np.float32(0.0)
            for k in range(max(-reach, -y), min(reach, height - 1 - y) + 1):
                total += kernel[k + reach] * rows[y + k, x]
            layer[y, x] = total


@njit(cache=True, fastmath=True)
def _paint(canvas, stroke, seed, index, kind, follow, scale, brush, texture, levels, reach):
    """Paint one stroke (11,) onto one canvas (C, H, W) uint8."""
    channels, canvas_height, canvas_width = canvas.shape
    height, width = canvas_height * scale, canvas_width * scale
    short = float(min(height, width))
    aspect_x, aspect_y = width / short, height / short
    thickness = float(stroke[THICKNESS])
    # Control points in units of the shorter side.
    x0, y0 = stroke[0] * aspect_x, stroke[1] * aspect_y
    x1, y1 = stroke[2] * aspect_x, stroke[3] * aspect_y
    x2, y2 = stroke[4] * aspect_x, stroke[5] * aspect_y

    # The box that the stroke can touch: the hull of its control points, widened; at multiples of `scale`.
    largest = max(brush[START_SCALE], brush[END_SCALE]) * (1.0 + brush[JITTER_SCALE])
    spread = 0.0 if kind == TRIANGLE else largest * reach[0] + brush[JITTER_POSITION]
    margin = thickness * (spread + 3.0 * brush[BLUR]) * short + 2.0  # a coarse mip level reaches 2 pixels farther
    left = max(0, int((min(x0, x1, x2) * short - margin) // scale) * scale)
    top = max(0, int((min(y0, y1, y2) * short - margin) // scale) * scale)
    right = min(width, int((max(x0, x1, x2) * short + margin) // scale + 1) * scale)
    bottom = min(height, int((max(y0, y1, y2) * short + margin) // scale + 1) * scale)
    if right <= left or bottom <= top:
        return
    layer = np.zeros((bottom - top, right - left), np.float32)
    tinted = brush[JITTER_COLOR] > 0.0 and kind != TRIANGLE
    color = np.empty((layer.shape[0], layer.shape[1], 3) if tinted else (1, 1, 3), np.float32)
    color[:] = stroke[6:9]  # a blur carries alpha to pixels that no dab has tinted

    if kind == TRIANGLE:
        fade = brush[FLOW] * (1.0 - brush[JITTER_OPACITY] * _uniform(seed, index, 0, 4))
        _fill_triangle(
            layer,
            x0 * short - left, y0 * short - top, x1 * short - left, y1 * short - top,
            x2 * short - left, y2 * short - top, fade,
        )  # fmt: skip
    else:
        # Arc length of the curve at SEGMENTS + 1 equally spaced parameters.
        lengths = np.zeros(SEGMENTS + 1)
        previous_x, previous_y = x0, y0
        for i in range(1, SEGMENTS + 1):
            if kind == BEZIER:
                s = i / SEGMENTS
                x = (1 - s) * (1 - s) * x0 + 2 * (1 - s) * s * x1 + s * s * x2
                y = (1 - s) * (1 - s) * y0 + 2 * (1 - s) * s * y1 + s * s * y2
            else:
                x, y = x0 + (x1 - x0) * i / SEGMENTS, y0 + (y1 - y0) * i / SEGMENTS
            lengths[i] = lengths[i - 1] + math.sqrt((x - previous_x) ** 2 + (y - previous_y) ** 2)
            previous_x, previous_y = x, y
        total = lengths[SEGMENTS] if kind != POINT else 0.0
        spacing = brush[STEP] * 0.5 * max(thickness, 1e-6)
        dabs = 1 + min(MAX_DABS - 1, int(math.ceil(total / spacing - 1e-6)))
        segment = 0
        for dab in range(dabs):
            fraction = dab / (dabs - 1) if dabs > 1 else 0.0
            distance = fraction * total
            while segment < SEGMENTS - 1 and lengths[segment + 1] < distance:
                segment += 1
            piece = lengths[segment + 1] - lengths[segment]
            s = (segment + (min(1.0, (distance - lengths[segment]) / piece) if piece > 0 else 0.0)) / SEGMENTS
            if kind == BEZIER:
                x = (1 - s) * (1 - s) * x0 + 2 * (1 - s) * s * x1 + s * s * x2
                y = (1 - s) * (1 - s) * y0 + 2 * (1 - s) * s * y1 + s * s * y2
                dx = (1 - s) * (x1 - x0) + s * (x2 - x1)
                dy = (1 - s) * (y1 - y0) + s * (y2 - y1)
            elif kind == LINE:
                x, y, dx, dy = x0 + (x1 - x0) * s, y0 + (y1 - y0) * s, x1 - x0, y1 - y0
            else:
                x, y, dx, dy = x0, y0, 1.0, 0.0

            cosine, sine = 1.0, 0.0
            if follow:
                norm = math.sqrt(dx * dx + dy * dy)
                if norm < 1e-9:  # the control point lies on an end: there the chord is the tangent
                    dx, dy = x2 - x0, y2 - y0
                    norm = math.sqrt(dx * dx + dy * dy)
                if norm > 1e-9:
                    cosine, sine = dx / norm, dy / norm
            if brush[JITTER_ROTATION] > 0.0:
                turn = (2 * _uniform(seed, index, dab, 0) - 1) * brush[JITTER_ROTATION]
                ct, st = math.cos(turn), math.sin(turn)
                cosine, sine = cosine * ct - sine * st, sine * ct + cosine * st
            size = thickness * (brush[START_SCALE] + (brush[END_SCALE] - brush[START_SCALE]) * fraction)
            if brush[JITTER_SCALE] > 0.0:
                size *= 1 + (2 * _uniform(seed, index, dab, 1) - 1) * brush[JITTER_SCALE]
            if brush[JITTER_POSITION] > 0.0:
                x += (2 * _uniform(seed, index, dab, 2) - 1) * brush[JITTER_POSITION] * thickness
                y += (2 * _uniform(seed, index, dab, 3) - 1) * brush[JITTER_POSITION] * thickness
            alpha = 1.0
            if brush[JITTER_OPACITY] > 0.0:
                alpha -= brush[JITTER_OPACITY] * _uniform(seed, index, dab, 4)
            r = g = b = 0.0
            if tinted:
                r = min(1.0, max(0.0, stroke[6] + (2 * _uniform(seed, index, dab, 5) - 1) * brush[JITTER_COLOR]))
                g = min(1.0, max(0.0, stroke[7] + (2 * _uniform(seed, index, dab, 6) - 1) * brush[JITTER_COLOR]))
                b = min(1.0, max(0.0, stroke[8] + (2 * _uniform(seed, index, dab, 7) - 1) * brush[JITTER_COLOR]))

            # A dab thinner than a pixel is drawn one pixel wide and as much fainter.
            pixels = size * short
            if pixels < 1.0:
                alpha *= pixels
                pixels = 1.0
            level = 0
            while level < levels.shape[0] - 1 and levels[level, 1] > TEXELS_PER_PIXEL * pixels:
                level += 1
            _stamp(
                layer, color, tinted, r, g, b, x * short - left, y * short - top, pixels, cosine, sine,
                alpha, brush[FLOW], texture, levels[level, 0], levels[level, 1], reach[level],
            )  # fmt: skip

    if brush[BLUR] > 0.0:
        _blur(layer, max(1e-3, brush[BLUR] * thickness * short))
    noise, edge, opacity = brush[NOISE], brush[EDGE_BLEND], stroke[OPACITY]
    samples = np.float32(1.0 / (scale * scale))
    for y in range(layer.shape[0] // scale):
        for x in range(layer.shape[1] // scale):
            coverage = np.float32(0.0)
            red = green = blue = np.float32(0.0)
            for j in range(scale):
                for i in range(scale):
                    py, px = y * scale + j, x * scale + i
                    a = layer[py, px]
                    if a <= np.float32(0.0):
                        continue
                    if noise > 0.0:
                        cell_y = int((top + py + 0.5) / short * NOISE_CELLS)
                        cell_x = int((left + px + 0.5) / short * NOISE_CELLS)
                        a *= np.float32(1.0 - noise * _uniform(seed, index, cell_y * 65536 + cell_x, 0))
                    if edge > 0.0:
                        a *= np.float32(1.0 - edge) + np.float32(edge) * a
                    coverage += a
                    if tinted:
                        red += a * color[py, px, 0]
                        green += a * color[py, px, 1]
                        blue += a * color[py, px, 2]
            if coverage <= np.float32(0.0):
                continue
            if not tinted:
                red, green, blue = coverage * stroke[6], coverage * stroke[7], coverage * stroke[8]
            cy, cx = top // scale + y, left // scale + x
            keep = np.float32(1.0) - coverage * samples * opacity
            paint = np.float32(255.0) * samples * opacity
            canvas[0, cy, cx] = np.uint8(canvas[0, cy, cx] * keep + red * paint + np.float32(0.5))
            if channels == 3:
                canvas[1, cy, cx] = np.uint8(canvas[1, cy, cx] * keep + green * paint + np.float32(0.5))
                canvas[2, cy, cx] = np.uint8(canvas[2, cy, cx] * keep + blue * paint + np.float32(0.5))


@njit(cache=True, parallel=True)
def paint_batch(canvas, strokes, seeds, index, kind, follow, scale, brush, texture, levels, reach):
    """Paint one stroke onto each of B canvases, in place.

    canvas  (B, C, H, W) uint8       strokes  (B, 11) float32, see `garl.brush.geometry`
    seeds   (B,) int64               index    which stroke of the painting this is
    brush   (12,) float64            texture  flat float32 mip levels; levels (L, 2) int64: offset, side
    reach   (L,) float64: how far from its centre a level paints, in diameters
    """
    for i in prange(canvas.shape[0]):
        _paint(canvas[i], strokes[i], seeds[i], index, kind, follow, scale, brush, texture, levels, reach)
