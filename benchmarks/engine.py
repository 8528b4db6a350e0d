"""Strokes per second of the brush engine on the CPU, beside the obvious loop and the floor.

    python benchmarks/engine.py [--json]

The obvious loop stamps each dab on the three channels of a float canvas, at the texture's full resolution, over its
bounding square. The floor of a stroke is one multiply-and-compare for every pixel under every dab, at 16 pixels a
cycle, and one read and write of each byte of its box; both are counted here, on the same strokes. CPU time is
measured, the best of several runs; `all cores` is wall time against wall time.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import numpy as np
from numba import njit

from garl.bench import CURVES, STEP, painting, random_strokes, shortest
from garl.brush.spec import load_brush
from garl.engine.paint import CORES

STROKES = 512
BRUSHES = {
    "hard_round": load_brush("hard_round").with_settings(stroke=CURVES),
    "textured (oil, no jitter)": load_brush("oil").with_settings(stroke=CURVES, dab={"jitter": {}}),
    "jittered (splatter)": load_brush("splatter").with_settings(stroke=CURVES),
}


@njit(cache=True)
def naive(canvas: np.ndarray, strokes: np.ndarray, texture: np.ndarray) -> int:
    """Stamp every dab on square canvases (B, 3, S, S) float32; returns how many pixels lie under the round dabs."""
    size, side, under = canvas.shape[2], texture.shape[0], 0
    for b in range(len(canvas)):
        x0, y0, x1, y1, x2, y2, red, green, blue, thickness, opacity = strokes[b, :11]
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
                    under += (px + 0.5 - x) ** 2 + (py + 0.5 - y) ** 2 <= diameter**2 / 4
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
    return under


def measure(name: str, size: int) -> dict[str, Any]:
    brush = BRUSHES[name]
    one = STROKES / shortest(painting(brush, size, STROKES), time.process_time)
    wall = [shortest(painting(brush, size, STROKES, threads=threads)) for threads in (1, CORES)]
    canvas, strokes = np.full((STROKES, 3, size, size), 255, np.float32), random_strokes(STROKES)
    under = naive(canvas, strokes, brush.texture) / STROKES
    obvious = STROKES / shortest(lambda: naive(canvas, strokes, brush.texture), time.process_time)
    return {
        "brush": name,
        "canvas": size,
        "strokes_per_second": round(one),
        "times_naive": round(one / obvious, 2),
        "pixels_under_dabs": round(under),
        "nanoseconds_per_pixel": round(1e9 / one / under, 2),
        "times_with_all_cores": round(wall[0] / wall[1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    rows = [measure(name, size) for size in (64, 256) for name in BRUSHES]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'brush':<26} canvas  strokes/s  × naive  px under dabs   ns/px  {CORES} cores")
    for row in rows:
        print(
            f"{row['brush']:<26} {row['canvas']:>6} {row['strokes_per_second']:>10,} {row['times_naive']:>8.2f} "
            f"{row['pixels_under_dabs']:>14,} {row['nanoseconds_per_pixel']:>7.2f} {row['times_with_all_cores']:>6.2f}x"
        )


if __name__ == "__main__":
    main()
