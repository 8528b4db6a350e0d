"""Strokes to pixels on the CPU: one pass over each stroke's bounding box.

How a stroke is drawn (`garl.engine.reference` says the same slowly, in NumPy):

1. Dabs lie at equal arc length along the curve; each knows its angle and its fraction of the way (thesis §4.1).
   Pressure (beyond the thesis) scales them; where it varies, they lie as much closer together as they are smaller.
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

What makes it fast: the four texels that a bilinear reading needs lie packed in one word, and the loop along a row
of a dab runs on whole SIMD vectors. So that it needs no branch, it may read beside the texture (coordinates are
clamped to a border of zeros) and write beside the box (whose rows are padded).
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import int32, njit, types, uint64
from numba.extending import intrinsic

from garl.brush.geometry import BRUSH, END_PRESSURE, OPACITY, START_PRESSURE, THICKNESS

SEGMENTS = 48
"""Straight pieces that stand for a Bézier curve when its arc length is measured."""
MAX_DABS = 4096
TEXELS_PER_PIXEL = 2.84
"""The finest mip level that is read. A coarser one would lose paint: the union of averages is less than the average
of the union. A finer one would alias."""
NOISE_CELLS = 256.0
"""Grain of `noise`: cells per shorter side, so that it does not change with the resolution."""
LANES = 8
"""Pixels that a row of a dab is rounded up to: a SIMD vector, or half of one."""
SQUARE = 8.0
"""Dabs up to this radius, in pixels, are drawn over their bounding square: rows of one length cost less than fewer
pixels save."""

LIGHTEST = 0.125
"""Dabs are spaced as if neither end were pressed less than this: those of no size would be without number."""

# Columns of a brush's float parameters, as `garl.engine.paint` packs them.
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
    FOLLOW,
) = range(13)

BEZIER, LINE, TRIANGLE, POINT = range(4)


# From a stroke to its dabs, one number at a time. The GPU's kernel compiles these functions too.


@njit(cache=True)
def uniform(seed, stroke, dab, k):
    """A number in [0, 1) that depends on nothing but its arguments (the finaliser of splitmix64)."""
    h = uint64(seed) ^ (uint64(stroke) * uint64(0x9E3779B97F4A7C15))
    h ^= (uint64(dab) * uint64(8) + uint64(k)) * uint64(0xC2B2AE3D27D4EB4F)
    h = (h ^ (h >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> uint64(27))) * uint64(0x94D049BB133111EB)
    h ^= h >> uint64(31)
    return float(h >> uint64(40)) * (1.0 / 16777216.0)


@njit(cache=True)
def jitter(brush, amount, seed, index, dab, k):
    """The dab's k-th random number between −brush[amount] and +brush[amount]."""
    if brush[amount] <= 0.0:
        return 0.0
    return (2.0 * uniform(seed, index, dab, k) - 1.0) * brush[amount]


@njit(cache=True, error_model="numpy")
def curve(kind, s, x0, y0, x1, y1, x2, y2):
    """Place and tangent (x, y, dx, dy) at the parameter `s`, 0..1, of a quadratic Bézier curve, a line or a point."""
    if kind == BEZIER:
        r = 1.0 - s
        x, y = r * r * x0 + 2.0 * r * s * x1 + s * s * x2, r * r * y0 + 2.0 * r * s * y1 + s * s * y2
        dx, dy = r * (x1 - x0) + s * (x2 - x1), r * (y1 - y0) + s * (y2 - y1)
        if dx * dx + dy * dy < 1e-18:  # the control point lies on an end: there the chord is the tangent
            dx, dy = x2 - x0, y2 - y0
        return x, y, dx, dy
    if kind == LINE:
        return x0 + (x1 - x0) * s, y0 + (y1 - y0) * s, x1 - x0, y1 - y0
    return x0, y0, 1.0, 0.0


@njit(cache=True, error_model="numpy")
def arc_lengths(kind, lengths, x0, y0, x1, y1, x2, y2):
    """Fill `lengths` (SEGMENTS + 1,) with the way to equally spaced parameters."""
    lengths[0] = 0.0
    before_x, before_y = x0, y0
    for i in range(1, SEGMENTS + 1):
        x, y, _, _ = curve(kind, i / SEGMENTS, x0, y0, x1, y1, x2, y2)
        lengths[i] = lengths[i - 1] + math.sqrt((x - before_x) * (x - before_x) + (y - before_y) * (y - before_y))
        before_x, before_y = x, y


@njit(cache=True, error_model="numpy")
def count_dabs(length, thickness, step, start_pressure, end_pressure):
    """How many dabs lie on a way of this length: one for each `step` of their radius, which pressure scales."""
    a, b = max(start_pressure, LIGHTEST), max(end_pressure, LIGHTEST)
    crowding = 1.0 / a if a == b else math.log(b / a) / (b - a)  # the mean of 1 / pressure over the way
    return 1 + min(MAX_DABS - 1, int(math.ceil(length * crowding / (step * 0.5 * max(thickness, 1e-6)) - 1e-6)))


@njit(cache=True, error_model="numpy")
def dab_fraction(dab, dabs, start_pressure, end_pressure):
    """How much of the way, 0..1, lies before a dab: dabs crowd in proportion to 1 / pressure."""
    fraction = dab / (dabs - 1) if dabs > 1 else 0.0
    a, b = max(start_pressure, LIGHTEST), max(end_pressure, LIGHTEST)
    return fraction if a == b else a * ((b / a) ** fraction - 1.0) / (b - a)


@njit(cache=True, error_model="numpy")
def dab_place(kind, lengths, segment, fraction, x0, y0, x1, y1, x2, y2):
    """Place and tangent (segment, x, y, dx, dy) at `fraction` of the way, which lies in `segment` or behind it."""
    distance = fraction * lengths[SEGMENTS]
    while segment < SEGMENTS - 1 and lengths[segment + 1] < distance:
        segment += 1
    piece = lengths[segment + 1] - lengths[segment]
    within = min(1.0, (distance - lengths[segment]) / piece) if piece > 0.0 else 0.0
    x, y, dx, dy = curve(kind, (segment + within) / SEGMENTS, x0, y0, x1, y1, x2, y2)
    return segment, x, y, dx, dy


@njit(cache=True, error_model="numpy")
def dab_direction(brush, dx, dy, seed, index, dab):
    """Cosine and sine of the angle that a dab is turned by."""
    cosine, sine = 1.0, 0.0
    norm = math.sqrt(dx * dx + dy * dy)
    if brush[FOLLOW] > 0.0 and norm > 1e-9:
        cosine, sine = dx / norm, dy / norm
    if brush[JITTER_ROTATION] > 0.0:
        turn = jitter(brush, JITTER_ROTATION, seed, index, dab, 0)
        c, s = math.cos(turn), math.sin(turn)
        cosine, sine = cosine * c - sine * s, sine * c + cosine * s
    return cosine, sine


@njit(cache=True)
def dab_size(brush, thickness, start_pressure, end_pressure, fraction, seed, index, dab):
    """Diameter of a dab, in the unit of `thickness`."""
    size = thickness * (brush[START_SCALE] + (brush[END_SCALE] - brush[START_SCALE]) * fraction)
    size *= start_pressure + (end_pressure - start_pressure) * fraction
    return size * (1.0 + jitter(brush, JITTER_SCALE, seed, index, dab, 1))


@njit(cache=True)
def dab_opacity(brush, seed, index, dab):
    """What jitter leaves of a dab's opacity, 0..1."""
    if brush[JITTER_OPACITY] <= 0.0:
        return 1.0
    return 1.0 - brush[JITTER_OPACITY] * uniform(seed, index, dab, 4)


@njit(cache=True)
def dab_color(brush, value, seed, index, dab, channel):
    """One channel of a dab's colour, 0..1, for the stroke's `value`."""
    return min(1.0, max(0.0, value + jitter(brush, JITTER_COLOR, seed, index, dab, 5 + channel)))


@njit(cache=True, inline="always")
def dab_shape(
    kind, brush, lengths, segment, fraction, thickness, start_pressure, end_pressure, short, seed, index, dab,
    x0, y0, x1, y1, x2, y2,
):  # fmt: skip
    """Segment, centre (x, y) and diameter in pixels, cosine, sine and opacity of a dab."""
    segment, x, y, dx, dy = dab_place(kind, lengths, segment, fraction, x0, y0, x1, y1, x2, y2)
    x += thickness * jitter(brush, JITTER_POSITION, seed, index, dab, 2)
    y += thickness * jitter(brush, JITTER_POSITION, seed, index, dab, 3)
    cosine, sine = dab_direction(brush, dx, dy, seed, index, dab)
    opacity = dab_opacity(brush, seed, index, dab)
    pixels = dab_size(brush, thickness, start_pressure, end_pressure, fraction, seed, index, dab) * short
    # A dab thinner than a pixel is drawn one pixel wide and as much fainter.
    return segment, x * short, y * short, max(1.0, pixels), cosine, sine, opacity * min(1.0, pixels)


@njit(cache=True)
def mip_level(levels, pixels):
    """Which level a dab of this diameter reads."""
    level = 0
    while level < len(levels) - 1 and levels[level, 1] > TEXELS_PER_PIXEL * pixels:
        level += 1
    return level


@njit(cache=True)
def extent(a, b, c, is_curve):
    """Smallest and largest coordinate of three points, or of the Bézier curve that they control."""
    if not is_curve:
        return min(a, b, c), max(a, b, c)
    low, high = min(a, c), max(a, c)
    if b < low or b > high:  # then the curve turns where its derivative vanishes
        s = (a - b) / (a - 2.0 * b + c)
        turn = (1.0 - s) * (1.0 - s) * a + 2.0 * (1.0 - s) * s * b + s * s * c
        low, high = min(low, turn), max(high, turn)
    return low, high


@njit(cache=True)
def reached(kind, brush, reach, thickness, pressure, short, x0, y0, x1, y1, x2, y2):
    """The box (left, top, right, bottom) in pixels that a stroke of at most this pressure can touch."""
    largest = pressure * max(brush[START_SCALE], brush[END_SCALE]) * (1.0 + brush[JITTER_SCALE])
    spread = 0.0 if kind == TRIANGLE else largest * reach[0] + brush[JITTER_POSITION]
    margin = thickness * (spread + 3.0 * brush[BLUR]) * short + 2.0  # a coarse mip level reaches 2 pixels farther
    x_low, x_high = extent(x0, x1, x2, kind == BEZIER)
    y_low, y_high = extent(y0, y1, y2, kind == BEZIER)
    return x_low * short - margin, y_low * short - margin, x_high * short + margin, y_high * short + margin


@njit(cache=True, error_model="numpy")
def kept_by_edge(px, py, ax, ay, bx, by):
    """How much of the pixel around (px, py) lies to the right of the line a → b (y points down), 0..1."""
    ex, ey = bx - ax, by - ay
    distance = (ex * (py - ay) - ey * (px - ax)) / (math.sqrt(ex * ex + ey * ey) + 1e-9)
    return min(1.0, max(0.0, distance + 0.5))


@njit(cache=True)
def grain(noise, top, left, y, x, short, seed, index):
    """What `noise` leaves of the paint at pixel (left + x, top + y), 0..1."""
    cell_y = int((top + y + 0.5) / short * NOISE_CELLS)
    cell_x = int((left + x + 0.5) / short * NOISE_CELLS)
    return 1.0 - noise * uniform(seed, index, cell_y * 65536 + cell_x, 0)


@njit(cache=True, inline="always")
def bilinear(four, fu, fv):
    """The texture, 0..255, `fu` to the right of a texel and `fv` below it; the word `four` holds it and three more."""
    a, b = np.float32(four & int32(255)), np.float32((four >> int32(8)) & int32(255))
    c, d = np.float32((four >> int32(16)) & int32(255)), np.float32((four >> int32(24)) & int32(255))
    above, below = a + (b - a) * fu, c + (d - c) * fu
    return above + (below - above) * fv


# Memory access for the loop along a row. LLVM vectorises it only if it knows that texture and layer do not overlap,
# which numba cannot tell it: these say so (scoped-noalias metadata), and check no bounds.


def _element(context, builder, array_type, array, index):
    array = context.make_array(array_type)(context, builder, array)
    return builder.gep(array.data, [index], inbounds=True)


def _texture_scope(builder):
    module = builder.module
    domain = module.add_metadata([ir.MetaDataString(module, "garl")])
    return module.add_metadata([module.add_metadata([ir.MetaDataString(module, "texture"), domain])])


def _load(kind):
    @intrinsic
    def load(typing_context, array, index):
        def generate(context, builder, signature, arguments):
            value = builder.load(_element(context, builder, signature.args[0], *arguments))
            value.set_metadata(kind, _texture_scope(builder))
            return value

        return array.dtype(array, index), generate

    return load


_texel = _load("alias.scope")  # texture[index], which no store to the layer changes
_get = _load("noalias")  # layer[index]; the layer is not the texture


@intrinsic
def _put(typing_context, layer, index, value):
    """layer[index] = value; the layer is not the texture."""

    def generate(context, builder, signature, arguments):
        place = _element(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place).set_metadata("noalias", _texture_scope(builder))
        return context.get_dummy_value()

    return types.void(layer, index, layer.dtype), generate


@njit(cache=True, fastmath=True, inline="always")
def _read(level, row, last_texel, u, v):
    """The texture, 0..255, at texel coordinates (u, v); beyond its border of zeros, nothing."""
    u, v = min(max(u, np.float32(0.0)), last_texel), min(max(v, np.float32(0.0)), last_texel)
    iu, iv = int32(u), int32(v)
    return bilinear(_texel(level, int32(iv * row + iu)), u - np.float32(iu), v - np.float32(iv))


@njit(cache=True, fastmath=True, error_model="numpy", forceinline=True)
def _stamp(
    layer, width, height, stride, r, g, b, cx, cy, diameter, cosine, sine, alpha, flow, texture, offset, side, reach
):
    """Raise the layer by one dab centred on pixel coordinates (cx, cy).

    `layer` holds `height` rows of `stride` floats, of which `width` count; if it is four times as long, the planes
    red, green and blue follow. `texture[offset:]` holds one mip level, (side + 2)² with a border of zeros; beyond
    `reach` from the centre, in units of the diameter, it reads as nothing.
    """
    plane = height * stride
    tinted = layer.size > plane
    level = texture[offset:]
    zero, one, last_texel, row = np.float32(0.0), np.float32(1.0), np.float32(side + 1), int32(side + 2)
    strength, flow = np.float32(alpha / 255.0), np.float32(flow)
    red, green, blue = np.float32(r), np.float32(g), np.float32(b)
    per_pixel = side / diameter
    step_u, step_v = np.float32(cosine * per_pixel), np.float32(-sine * per_pixel)
    middle = 0.5 * side + 0.5
    radius = reach * diameter
    y_first = max(0, int(math.ceil(cy - radius - 0.5)))
    y_last = min(height - 1, int(math.floor(cy + radius - 0.5)))
    for y in range(y_first, y_last + 1):
        dy = y + 0.5 - cy
        half = math.sqrt(max(0.0, radius * radius - dy * dy)) if radius > SQUARE else radius
        first = int(max(0.0, cx - half + 0.5))
        last = int(min(float(width), cx + half + 0.5))
        dx = first + 0.5 - cx
        u = np.float32((cosine * dx + sine * dy) * per_pixel + middle)
        v = np.float32((cosine * dy - sine * dx) * per_pixel + middle)
        start = y * stride + first
        # Two loops: a condition inside one would become masked stores, and those to memory that was never touched
        # cost hundreds of cycles each, though nothing is stored.
        if tinted:
            for x in range((last - first + LANES - 1) & -LANES):
                steps, at = np.float32(int32(x)), start + x
                t = _read(level, row, last_texel, u + step_u * steps, v + step_v * steps) * strength
                old = _get(layer, at)
                _put(layer, at, old + flow * max(zero, t - old))
                paint = t * flow
                weight = paint / max(paint + old * (one - paint), np.float32(1e-12))
                old = _get(layer, at + plane)
                _put(layer, at + plane, old + (red - old) * weight)
                old = _get(layer, at + 2 * plane)
                _put(layer, at + 2 * plane, old + (green - old) * weight)
                old = _get(layer, at + 3 * plane)
                _put(layer, at + 3 * plane, old + (blue - old) * weight)
        else:
            for x in range((last - first + LANES - 1) & -LANES):
                steps, at = np.float32(int32(x)), start + x
                t = _read(level, row, last_texel, u + step_u * steps, v + step_v * steps) * strength
                old = _get(layer, at)
                _put(layer, at, old + flow * max(zero, t - old))


@njit(cache=True, fastmath=True)
def _fill_triangle(layer, width, x0, y0, x1, y1, x2, y2, alpha):
    """Cover `layer` (h, …) by a triangle: the area that its edges leave of each pixel, so that a sliver fades out."""
    if (x1 - x0) * (y2 - y0) < (x2 - x0) * (y1 - y0):
        x1, y1, x2, y2 = x2, y2, x1, y1
    for y in range(layer.shape[0]):
        for x in range(width):
            px, py = x + 0.5, y + 0.5
            covered = kept_by_edge(px, py, x0, y0, x1, y1) + kept_by_edge(px, py, x1, y1, x2, y2)
            covered += kept_by_edge(px, py, x2, y2, x0, y0)
            layer[y, x] = alpha * max(0.0, covered - 2.0)


@njit(cache=True, fastmath=True)
def _blur(layer, width, sigma):
    """Gaussian blur of `layer` (h, …) in place, `sigma` in pixels, cut off at 3 sigma."""
    reach = int(math.ceil(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    height = layer.shape[0]
    rows = np.zeros((height, width), np.float32)
    for y in range(height):
        for k in range(-reach, reach + 1):
            weight = kernel[k + reach]
            for x in range(max(0, -k), min(width, width - k)):
                rows[y, x] += weight * layer[y, x + k]
    layer[:] = 0.0
    for y in range(height):
        for k in range(max(-reach, -y), min(reach, height - 1 - y) + 1):
            weight = kernel[k + reach]
            for x in range(width):
                layer[y, x] += weight * rows[y + k, x]


@njit(cache=True, fastmath=True)
def _average_down(layer, scale):
    """Means over scale × scale pixels, kept in the layer's upper left."""
    share = np.float32(1.0 / (scale * scale))
    for y in range(layer.shape[0] // scale):
        for x in range(layer.shape[1] // scale):
            total = np.float32(0.0)
            for j in range(scale):
                for i in range(scale):
                    total += layer[y * scale + j, x * scale + i]
            layer[y, x] = total * share


@njit(cache=True, fastmath=True, forceinline=True)
def _composite(canvas, alpha, paint, value, opacity):
    """canvas (h, w) uint8 ← canvas + opacity · alpha · (value − canvas); `paint` is alpha itself, or alpha · value."""
    opacity, value = np.float32(opacity), np.float32(255.0) * np.float32(opacity) * np.float32(value)
    one, half = np.float32(1.0), np.float32(0.5)
    for y in range(canvas.shape[0]):
        row, a, p = canvas[y], alpha[y], paint[y]
        for x in range(canvas.shape[1]):
            row[x] = np.uint8(int32(np.float32(row[x]) * (one - opacity * a[x]) + value * p[x] + half))


@njit(cache=True, fastmath=True, error_model="numpy", forceinline=True)
def _paint(canvas, stroke, seed, index, kind, scale, brush, texture, levels, reach, scratch):
    """Paint one stroke (14,) onto one canvas (C, H, W) uint8; `scratch` is float32 with room for the layer."""
    if stroke[OPACITY] <= 0.0:
        return  # the pen is lifted
    height, width = canvas.shape[1] * scale, canvas.shape[2] * scale
    short = float(min(height, width))
    aspect_x, aspect_y = width / short, height / short
    thickness = float(stroke[THICKNESS])
    start_pressure, end_pressure = float(stroke[START_PRESSURE]), float(stroke[END_PRESSURE])
    # Control points in units of the shorter side.
    x0, y0 = stroke[0] * aspect_x, stroke[1] * aspect_y
    x1, y1 = stroke[2] * aspect_x, stroke[3] * aspect_y
    x2, y2 = stroke[4] * aspect_x, stroke[5] * aspect_y

    # The box that the stroke can touch, at multiples of `scale`.
    pressure = max(start_pressure, end_pressure)
    x_low, y_low, x_high, y_high = reached(kind, brush, reach, thickness, pressure, short, x0, y0, x1, y1, x2, y2)
    left, top = max(0, int(x_low // scale) * scale), max(0, int(y_low // scale) * scale)
    right = min(width, int(x_high // scale + 1) * scale)
    bottom = min(height, int(y_high // scale + 1) * scale)
    if right <= left or bottom <= top:
        return
    box_width, box_height = right - left, bottom - top
    stride = box_width + LANES
    tinted = brush[JITTER_COLOR] > 0.0 and kind != TRIANGLE
    planes = 4 if tinted else 1
    layer = scratch[: planes * box_height * stride].reshape(planes, box_height, stride)
    layer[0] = 0.0
    for channel in range(1, layer.shape[0]):
        layer[channel] = stroke[5 + channel]  # a blur carries alpha to pixels that no dab has tinted
    alpha = layer[0]

    if kind == TRIANGLE:
        _fill_triangle(
            alpha, box_width,
            x0 * short - left, y0 * short - top, x1 * short - left, y1 * short - top,
            x2 * short - left, y2 * short - top, brush[FLOW] * dab_opacity(brush, seed, index, 0),
        )  # fmt: skip
    else:
        flat = layer.reshape(-1)
        lengths = np.empty(SEGMENTS + 1)
        arc_lengths(kind, lengths, x0, y0, x1, y1, x2, y2)
        dabs = 1
        if kind != POINT:
            dabs = count_dabs(lengths[SEGMENTS], thickness, brush[STEP], start_pressure, end_pressure)
        segment = 0
        for dab in range(dabs):
            fraction = dab_fraction(dab, dabs, start_pressure, end_pressure)
            segment, x, y, pixels, cosine, sine, opacity = dab_shape(
                kind, brush, lengths, segment, fraction, thickness, start_pressure, end_pressure, short,
                seed, index, dab, x0, y0, x1, y1, x2, y2,
            )  # fmt: skip
            red = green = blue = 0.0
            if tinted:
                red = dab_color(brush, stroke[6], seed, index, dab, 0)
                green = dab_color(brush, stroke[7], seed, index, dab, 1)
                blue = dab_color(brush, stroke[8], seed, index, dab, 2)
            level = mip_level(levels, pixels)
            _stamp(
                flat, box_width, box_height, stride, red, green, blue, x - left, y - top, pixels,
                cosine, sine, opacity, brush[FLOW], texture, levels[level, 0], levels[level, 1], reach[level],
            )  # fmt: skip

    if brush[BLUR] > 0.0:
        _blur(alpha, box_width, max(1e-3, brush[BLUR] * thickness * short))
    if brush[NOISE] > 0.0 or brush[EDGE_BLEND] > 0.0:
        keep, edge = np.float32(1.0 - brush[EDGE_BLEND]), np.float32(brush[EDGE_BLEND])
        for y in range(box_height):
            for x in range(box_width):
                if alpha[y, x] > 0.0:
                    if brush[NOISE] > 0.0:
                        alpha[y, x] *= np.float32(grain(brush[NOISE], top, left, y, x, short, seed, index))
                    alpha[y, x] *= keep + edge * alpha[y, x]
    for channel in range(1, layer.shape[0]):
        layer[channel] *= alpha
    if scale > 1:
        for channel in range(layer.shape[0]):
            _average_down(layer[channel], scale)
    box = canvas[:, top // scale : bottom // scale, left // scale : right // scale]
    for channel in range(canvas.shape[0]):
        if tinted:
            _composite(box[channel], alpha, layer[1 + channel], 1.0, stroke[OPACITY])
        else:
            _composite(box[channel], alpha, alpha, stroke[6 + channel], stroke[OPACITY])


@njit(cache=True, nogil=True)
def paint_batch(canvas, strokes, seeds, index, kind, scale, brushes, texture, levels, reach):
    """Paint one stroke onto each of B canvases, in place, with whichever of N brushes it names.

    canvas   (B, C, H, W) uint8      strokes  (B, 14) float32, see `garl.brush.geometry`
    seeds    (B,) int64              index    which stroke of the painting this is
    brushes  (N, 13) float64         texture  int32 words of mip levels; levels (N, L, 2) int64: offset, side
    reach    (N, L) float64: how far from its centre a level paints, in diameters
    """
    _, _, height, width = canvas.shape
    planes = 4 if brushes[:, JITTER_COLOR].max() > 0.0 else 1
    # Allocated once: what is freed after every stroke may go back to the system, to come again page by page.
    scratch = np.zeros(planes * height * scale * (width * scale + LANES), np.float32)
    for i in range(len(canvas)):
        n = int(strokes[i, BRUSH])
        _paint(canvas[i], strokes[i], seeds[i], index, kind, scale, brushes[n], texture, levels[n], reach[n], scratch)
