"""Strokes per second of the brush engine on one core.

    python benchmarks/engine.py [--json]

Beside each figure: how many times faster than the obvious loop (each dab stamped on the three channels of the
canvas, at the texture's full resolution, over its bounding square), the pixels that this loop touches for one
stroke, and what a second thread adds.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import njit

from garl.brush.spec import Brush, BrushSpec, load_brush
from garl.engine.paint import PreparedBrush, render_strokes

STEP = 0.2  # dabs are this many radii apart
STROKES = 256
REPEATS = 7


def variant(name: str, **dab: Any) -> Brush:
    """A library brush on Bézier curves with dabs STEP radii apart."""
    brush = load_brush(name)
    data = brush.spec.model_dump()
    data["stroke"] = {"type": "bezier", "step": STEP}
    data["dab"].update(dab)
    return Brush(BrushSpec.model_validate(data), brush.texture)


BRUSHES = {
    "hard_round": variant("hard_round"),
    "oil, no jitter": variant("oil", jitter={}),
    "splatter": variant("splatter"),
    "splatter, no jitter": variant("splatter", jitter={}),
}


@njit(cache=True)
def naive(canvas: np.ndarray, strokes: np.ndarray, texture: np.ndarray) -> int:
    """Stamp every dab on square canvases (B, 3, S, S) float32; returns how many pixels that touched."""
    size, side, touched = canvas.shape[2], texture.shape[0], 0
    for b in range(len(canvas)):
        x0, y0, x1, y1, x2, y2, red, green, blue, thickness, opacity = strokes[b]
        color = (red, green, blue)
        diameter = thickness * size
        length = math.hypot(x1 - x0, y1 - y0) + math.hypot(x2 - x1, y2 - y1)
        length = (length + math.hypot(x2 - x0, y2 - y0)) / 2
        dabs = 1 + math.ceil(length / (STEP * thickness / 2))
        for i in range(dabs):
            s = i / max(1, dabs - 1)
            x = ((1 - s) ** 2 * x0 + 2 * (1 - s) * s * x1 + s * s * x2) * size
            y = ((1 - s) ** 2 * y0 + 2 * (1 - s) * s * y1 + s * s * y2) * size
            for py in range(max(0, int(y - diameter / 2)), min(size, int(y + diameter / 2) + 1)):
                for px in range(max(0, int(x - diameter / 2)), min(size, int(x + diameter / 2) + 1)):
                    touched += 1
                    u = ((px + 0.5 - x) / diameter + 0.5) * side - 0.5
                    v = ((py + 0.5 - y) / diameter + 0.5) * side - 0.5
                    if u < 0 or v < 0 or u >= side - 1 or v >= side - 1:
                        continue
                    iu, iv = int(u), int(v)
                    fu, fv = u - iu, v - iv
                    top = texture[iv, iu] * (1 - fu) + texture[iv, iu + 1] * fu
                    bottom = texture[iv + 1, iu] * (1 - fu) + texture[iv + 1, iu + 1] * fu
                    alpha = opacity * (top * (1 - fv) + bottom * fv)
                    for c in range(3):
                        canvas[b, c, py, px] += alpha * (255 * color[c] - canvas[b, c, py, px])
    return touched


def strokes_per_second(paint: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """The best of several runs over STROKES strokes, after one to warm up. CPU time leaves other processes out."""
    paint()
    seconds = []
    for _ in range(REPEATS):
        start = clock()
        paint()
        seconds.append(clock() - start)
    return STROKES / min(seconds)


def measure(name: str, size: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    strokes = rng.uniform(0, 1, (STROKES, 11)).astype(np.float32)
    strokes[:, 9] = 2 * rng.uniform(1 / 64, 9 / 64, STROKES)  # the diameter
    canvas = np.full((STROKES, 3, size, size), 255, np.uint8)
    brush, seeds = PreparedBrush(BRUSHES[name]), np.arange(STROKES)

    def paint() -> None:
        render_strokes(canvas, strokes, seeds, 0, brush)

    numba.set_num_threads(1)
    one = strokes_per_second(paint)
    gain = math.nan
    if numba.config.NUMBA_NUM_THREADS > 1:
        alone = strokes_per_second(paint, time.perf_counter)
        numba.set_num_threads(2)
        gain = strokes_per_second(paint, time.perf_counter) / alone
        numba.set_num_threads(1)
    stamped, texture = canvas.astype(np.float32), BRUSHES[name].texture
    touched = naive(stamped, strokes, texture)
    return {
        "brush": name,
        "canvas": size,
        "strokes_per_second": round(one),
        "times_naive": round(one / strokes_per_second(lambda: naive(stamped, strokes, texture)), 2),
        "naive_pixels_per_stroke": round(touched / STROKES),
        "two_threads": round(gain, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    rows = [measure(name, size) for size in (64, 256) for name in BRUSHES]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print("brush                canvas  strokes/s  × naive  naive px/stroke  2 threads")
    for row in rows:
        print(
            f"{row['brush']:<20} {row['canvas']:>6} {row['strokes_per_second']:>10,} {row['times_naive']:>8.2f} "
            f"{row['naive_pixels_per_stroke']:>16,} {row['two_threads']:>9.2f}x"
        )


if __name__ == "__main__":
    main()
