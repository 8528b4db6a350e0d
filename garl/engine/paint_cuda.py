"""Strokes to pixels on a GPU: the canvases never leave it, and one launch draws a stroke on each of them.

How a stroke is drawn is said in `garl.engine.kernels`, whose scalar functions numba compiles for the GPU as well.
There a dab is stamped onto pixels; here a pixel gathers dabs. A block of threads owns TILE × TILE pixels of one
canvas, and leaves at once if the stroke cannot touch them. Its threads work out the dabs side by side, one each,
into shared memory; then every thread goes over them in order for its own pixel, whose alpha and colour stay in
registers until they are composited. Only a blur, which needs the neighbours, takes a layer in memory.

The floor, for a stroke on a 64² canvas of 3 channels: 12 KB read, 12 KB written, and 24 KB more for the copy that
`apply` makes; about 33 dabs × 2,500 pixels of its box × 10 instructions to see that most of them miss, and 3,000
hits × 60. That is 48 KB and 1e6 instructions: on an H200 (4.3 TB/s, 29e12 instructions/s as measured and as rated)
0.011 µs and 0.035 µs, so arithmetic decides, and a million strokes a second asks for 1/28 of what it could do.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from numba import config, cuda, float32, float64, int32
from torch import Tensor

from garl.brush.geometry import BRUSH, END_PRESSURE, OPACITY, START_PRESSURE, THICKNESS
from garl.engine.kernels import (
    BLUR,
    EDGE_BLEND,
    FLOW,
    JITTER_COLOR,
    NOISE,
    POINT,
    SEGMENTS,
    STEP,
    TRIANGLE,
    arc_lengths,
    bilinear,
    count_dabs,
    dab_color,
    dab_fraction,
    dab_opacity,
    dab_shape,
    grain,
    kept_by_edge,
    mip_level,
    reached,
)
from garl.engine.paint import PreparedBrushes

TILE = 16
"""Pixels per side of the square that a block paints, a thread each."""
DABS = TILE * TILE
"""Dabs that are held in shared memory at a time: one for each thread to work out."""
KNOTS = SEGMENTS + 1
LAYER_BYTES = 1 << 28
"""The most memory that a blur may take at a time."""

# With 64 registers a thread four blocks share a multiprocessor, with as many as the compiler would take only one.
# The simulator has no such option.
REGISTERS = {} if config.ENABLE_CUDASIM else {"max_registers": 64}  # type: ignore[attr-defined]

# One canvas does not fill a GPU, and need not.
warnings.filterwarnings("ignore", ".*Grid size .* low occupancy")

# Rows of the table of dabs in shared memory.
X, Y, RADIUS_SQUARED, STEP_U, STEP_V, STRENGTH, RED, GREEN, BLUE = range(9)


@cuda.jit(device=True)
def _grained(alpha, brush, y, x, short, seed, index):
    """What grain and edge leave of `alpha` at a pixel of the layer."""
    if alpha > float32(0.0):
        if brush[NOISE] > 0.0:
            alpha *= float32(grain(brush[NOISE], 0, 0, y, x, short, seed, index))
        alpha *= float32(1.0 - brush[EDGE_BLEND]) + float32(brush[EDGE_BLEND]) * alpha
    return alpha


@cuda.jit(device=True)
def _composite(canvas, i, y, x, opacity, alpha, red, green, blue):
    """canvas ← canvas + opacity · (alpha · colour − alpha · canvas); the colour, 0..1, comes multiplied by alpha."""
    for channel in range(canvas.shape[1]):
        paint = red if channel == 0 else (green if channel == 1 else blue)
        old = float32(canvas[i, channel, y, x])
        new = old * (float32(1.0) - opacity * alpha) + float32(255.0) * opacity * paint
        canvas[i, channel, y, x] = int32(new + float32(0.5))


@cuda.jit(fastmath=True, **REGISTERS)
def _draw(canvas, layer, strokes, seeds, index, kind, scale, brushes, texture, all_levels, all_reach):
    """Draw a stroke within one tile of one canvas: onto `canvas` or, if its brush blurs, into `layer`
    (B, 4, H·scale, W·scale): alpha, red, green, blue."""
    table = cuda.shared.array((9, DABS), float32)
    offsets = cuda.shared.array(DABS, int32)
    sides = cuda.shared.array(DABS, int32)
    lengths = cuda.shared.array(KNOTS, float64)
    i, thread = cuda.blockIdx.x, cuda.threadIdx.x
    row, column = cuda.blockIdx.y * TILE + thread // TILE, cuda.blockIdx.z * TILE + thread % TILE
    if strokes[i, OPACITY] <= float32(0.0):
        return  # the pen is lifted
    seed, number = seeds[i], int32(strokes[i, BRUSH])
    brush, levels, reach = brushes[number], all_levels[number], all_reach[number]
    height, width = canvas.shape[2] * scale, canvas.shape[3] * scale
    short = float64(min(height, width))
    thickness = float64(strokes[i, THICKNESS])
    start_pressure, end_pressure = float64(strokes[i, START_PRESSURE]), float64(strokes[i, END_PRESSURE])
    aspect_x, aspect_y = width / short, height / short
    x0, y0 = strokes[i, 0] * aspect_x, strokes[i, 1] * aspect_y
    x1, y1 = strokes[i, 2] * aspect_x, strokes[i, 3] * aspect_y
    x2, y2 = strokes[i, 4] * aspect_x, strokes[i, 5] * aspect_y
    pressure = max(start_pressure, end_pressure)
    left, top, right, bottom = reached(kind, brush, reach, thickness, pressure, short, x0, y0, x1, y1, x2, y2)
    tile_top, tile_left, tile = cuda.blockIdx.y * TILE * scale, cuda.blockIdx.z * TILE * scale, TILE * scale
    if right < tile_left or bottom < tile_top or left > tile_left + tile or top > tile_top + tile:
        return  # with the whole block

    dabs = 0
    if kind != TRIANGLE:
        if thread == 0:
            arc_lengths(kind, lengths, x0, y0, x1, y1, x2, y2)
        cuda.syncthreads()
        dabs = 1
        if kind != POINT:
            dabs = count_dabs(lengths[SEGMENTS], thickness, brush[STEP], start_pressure, end_pressure)
    tinted = brush[JITTER_COLOR] > 0.0 and kind != TRIANGLE
    blurred, flow, one = brush[BLUR] > 0.0, float32(brush[FLOW]), float32(1.0)
    sum_alpha = sum_red = sum_green = sum_blue = float32(0.0)
    for sub in range(scale * scale):  # the pixels of the layer that this thread's pixel is the mean of
        x, y = column * scale + sub % scale, row * scale + sub // scale
        center_x, center_y = float32(x) + float32(0.5), float32(y) + float32(0.5)
        alpha = float32(0.0)
        red, green, blue = strokes[i, 6], strokes[i, 7], strokes[i, 8]
        if kind == TRIANGLE:
            turn = (x1 - x0) * (y2 - y0) < (x2 - x0) * (y1 - y0)
            ax, ay, bx, by = (x2, y2, x1, y1) if turn else (x1, y1, x2, y2)
            px, py = center_x, center_y
            covered = kept_by_edge(px, py, x0 * short, y0 * short, ax * short, ay * short)
            covered += kept_by_edge(px, py, ax * short, ay * short, bx * short, by * short)
            covered += kept_by_edge(px, py, bx * short, by * short, x0 * short, y0 * short)
            alpha = float32(brush[FLOW] * dab_opacity(brush, seed, index, 0) * max(0.0, covered - 2.0))
        for first in range(0, dabs, DABS):
            if sub == 0 or dabs > DABS:
                cuda.syncthreads()  # until the last thread is done with the dabs before
                dab = first + thread
                if dab < dabs:
                    fraction = dab_fraction(dab, dabs, start_pressure, end_pressure)
                    _, cx, cy, pixels, cosine, sine, opacity = dab_shape(
                        kind, brush, lengths, 0, fraction, thickness, start_pressure, end_pressure, short,
                        seed, index, dab, x0, y0, x1, y1, x2, y2,
                    )  # fmt: skip
                    level = mip_level(levels, pixels)
                    offsets[thread], sides[thread] = levels[level, 0], levels[level, 1]
                    per_pixel = levels[level, 1] / pixels
                    table[X, thread], table[Y, thread] = cx, cy
                    table[RADIUS_SQUARED, thread] = (reach[level] * pixels) ** 2
                    table[STEP_U, thread], table[STEP_V, thread] = cosine * per_pixel, sine * per_pixel
                    table[STRENGTH, thread] = opacity / 255.0
                    table[RED, thread] = dab_color(brush, strokes[i, 6], seed, index, dab, 0)
                    table[GREEN, thread] = dab_color(brush, strokes[i, 7], seed, index, dab, 1)
                    table[BLUE, thread] = dab_color(brush, strokes[i, 8], seed, index, dab, 2)
                cuda.syncthreads()
            for d in range(min(DABS, dabs - first)):
                dx, dy = center_x - table[X, d], center_y - table[Y, d]
                if dx * dx + dy * dy > table[RADIUS_SQUARED, d]:
                    continue
                side = sides[d]
                middle, last_texel = float32(0.5) * float32(side + 1), float32(side + 1)
                u = min(max(table[STEP_U, d] * dx + table[STEP_V, d] * dy + middle, float32(0.0)), last_texel)
                v = min(max(table[STEP_U, d] * dy - table[STEP_V, d] * dx + middle, float32(0.0)), last_texel)
                iu, iv = int32(u), int32(v)
                four = texture[offsets[d] + iv * (side + 2) + iu]
                t = bilinear(four, u - float32(iu), v - float32(iv)) * table[STRENGTH, d]
                if tinted:
                    paint = t * flow
                    weight = paint / max(paint + alpha * (one - paint), float32(1e-12))
                    red += (table[RED, d] - red) * weight
                    green += (table[GREEN, d] - green) * weight
                    blue += (table[BLUE, d] - blue) * weight
                alpha += flow * max(float32(0.0), t - alpha)
        if y < height and x < width:
            if blurred:
                layer[i, 0, y, x], layer[i, 1, y, x], layer[i, 2, y, x], layer[i, 3, y, x] = alpha, red, green, blue
            alpha = _grained(alpha, brush, y, x, short, seed, index)
        sum_alpha += alpha
        sum_red += alpha * red
        sum_green += alpha * green
        sum_blue += alpha * blue
    if not blurred and row < canvas.shape[2] and column < canvas.shape[3]:
        share, opacity = one / float32(scale * scale), strokes[i, OPACITY]
        _composite(
            canvas, i, row, column, opacity, sum_alpha * share, sum_red * share, sum_green * share, sum_blue * share
        )


@cuda.jit(device=True)
def _tap(distance, sigma):
    """The Gaussian's weight at a distance, before it is divided by the sum."""
    return math.exp(float32(-0.5) * (distance / sigma) * (distance / sigma))


@cuda.jit(fastmath=True)
def _blur_rows(rows, layer, strokes, brushes):
    """rows (B, H, W) ← the layer's alpha, blurred along x, where the stroke's brush blurs."""
    i, thread = cuda.blockIdx.x, cuda.threadIdx.x
    brush = brushes[int32(strokes[i, BRUSH])]
    y, x = cuda.blockIdx.y * TILE + thread // TILE, cuda.blockIdx.z * TILE + thread % TILE
    if y >= rows.shape[1] or x >= rows.shape[2] or brush[BLUR] <= 0.0:
        return
    short = min(rows.shape[1], rows.shape[2])
    sigma = float32(max(1e-3, brush[BLUR] * strokes[i, THICKNESS] * short))
    reach = int32(math.ceil(float32(3.0) * sigma))
    total = weights = float32(0.0)
    for k in range(-reach, reach + 1):
        weight = _tap(float32(k), sigma)
        weights += weight
        if 0 <= x + k < rows.shape[2]:
            total += weight * layer[i, 0, y, x + k]
    rows[i, y, x] = total / weights


@cuda.jit(fastmath=True)
def _blur_columns(canvas, rows, layer, strokes, seeds, index, scale, brushes):
    """Blur `rows` along y, and composite, where the stroke's brush blurs."""
    i, thread = cuda.blockIdx.x, cuda.threadIdx.x
    brush = brushes[int32(strokes[i, BRUSH])]
    row, column = cuda.blockIdx.y * TILE + thread // TILE, cuda.blockIdx.z * TILE + thread % TILE
    if row >= canvas.shape[2] or column >= canvas.shape[3] or brush[BLUR] <= 0.0:
        return
    short = float64(min(rows.shape[1], rows.shape[2]))
    sigma = float32(max(1e-3, brush[BLUR] * strokes[i, THICKNESS] * short))
    reach = int32(math.ceil(float32(3.0) * sigma))
    sum_alpha = sum_red = sum_green = sum_blue = float32(0.0)
    for sub in range(scale * scale):
        x, y = column * scale + sub % scale, row * scale + sub // scale
        total = weights = float32(0.0)
        for k in range(-reach, reach + 1):
            weight = _tap(float32(k), sigma)
            weights += weight
            if 0 <= y + k < rows.shape[1]:
                total += weight * rows[i, y + k, x]
        alpha = _grained(total / weights, brush, y, x, short, seeds[i], index)
        sum_alpha += alpha
        sum_red += alpha * layer[i, 1, y, x]
        sum_green += alpha * layer[i, 2, y, x]
        sum_blue += alpha * layer[i, 3, y, x]
    share, opacity = float32(1.0) / float32(scale * scale), strokes[i, OPACITY]
    _composite(canvas, i, row, column, opacity, sum_alpha * share, sum_red * share, sum_green * share, sum_blue * share)


class CudaBrushes:
    """Prepared brushes whose arrays lie on a GPU (under numba's simulator: on the CPU)."""

    def __init__(self, brushes: PreparedBrushes, device: torch.device | str) -> None:
        self.kind = brushes.kind
        self.blur = bool((brushes.parameters[:, BLUR] > 0.0).any())
        self.parameters, self.texture, self.levels, self.reach = (
            _view(torch.from_numpy(array).to(device))
            for array in (brushes.parameters, brushes.texture, brushes.levels, brushes.reach)
        )


def render_strokes(
    canvas: Tensor, strokes: Tensor, seeds: Tensor, index: int, brushes: CudaBrushes, render_scale: int = 1
) -> None:
    """What `garl.engine.paint.render_strokes` does, for tensors on a GPU, on torch's current stream, which is all
    that it waits for.

    canvas: (B, C, H, W) uint8; strokes: (B, 14) float32; seeds: (B,) int64.
    """
    assert canvas.dtype == torch.uint8, "canvases at rest are uint8"
    assert strokes.dtype == torch.float32, "strokes are float32"
    n, _, height, width = canvas.shape
    assert n == len(strokes) == len(seeds), "one stroke and one seed for each canvas"
    tiles, layer_tiles = ((math.ceil(height * s / TILE), math.ceil(width * s / TILE)) for s in (1, render_scale))
    layer_shape = (height * render_scale, width * render_scale)
    at_once = max(1, LAYER_BYTES // (5 * 4 * math.prod(layer_shape))) if brushes.blur else n
    handle = torch.cuda.current_stream().cuda_stream if canvas.is_cuda else 0
    stream = cuda.external_stream(handle) if handle else 0  # 0 is the default stream, to numba as to torch
    for first in range(0, n, at_once):
        part = slice(first, min(first + at_once, n))
        pictures, lines, numbers = _view(canvas[part]), _view(strokes[part]), _view(seeds[part])
        b = part.stop - part.start
        layer = _view(torch.zeros((b, 4, *layer_shape) if brushes.blur else (1, 1, 1, 1), device=canvas.device))
        _draw[(b, *tiles), DABS, stream](
            pictures, layer, lines, numbers, index, brushes.kind, render_scale,
            brushes.parameters, brushes.texture, brushes.levels, brushes.reach,
        )  # fmt: skip
        if brushes.blur:
            rows = _view(torch.empty((b, *layer_shape), device=canvas.device))
            _blur_rows[(b, *layer_tiles), DABS, stream](rows, layer, lines, brushes.parameters)
            _blur_columns[(b, *tiles), DABS, stream](
                pictures, rows, layer, lines, numbers, index, render_scale, brushes.parameters
            )


def _view(tensor: Tensor) -> Any:
    """The tensor's memory as the array that a kernel takes."""
    assert tensor.is_contiguous(), "kernels are compiled for contiguous arrays"
    return cuda.as_cuda_array(tensor, sync=False) if tensor.is_cuda else tensor.numpy()
