"""The brush engine beside its peers, on one core, in one run: libmypaint and LearningToPaint's circles.

    apt-get install libmypaint-1.5-1; pip install opencv-python-headless
    OMP_NUM_THREADS=1 python benchmarks/peers.py

libmypaint gets the same curves as our engine, as 20 events each, its default brush at the same radius with the same
number of dabs. LearningToPaint draws a stroke as 100 filled circles
along a Bézier curve on a float canvas of twice the size and then shrinks it; we draw the same curves with the same
radii in its canvas's size, dabs 0.2 radii apart. The figures are the median of rounds in which every engine takes
its turn.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable

import numpy as np

from garl.bench import CURVES, STEP, painting, random_strokes
from garl.brush.spec import load_brush

STROKES, ROUNDS, EVENTS = 512, 9, 20


def curve(stroke: np.ndarray, n: int) -> np.ndarray:
    """`n` points (n, 2) on a stroke, in units of the canvas."""
    s = np.linspace(0, 1, n)[:, None]
    start, control, end = stroke[:6].reshape(3, 2).astype(np.float64)
    return (1 - s) ** 2 * start + 2 * (1 - s) * s * control + s**2 * end


class MyPaint:
    """libmypaint's default brush on a surface of its own, through ctypes."""

    OPAQUE, RADIUS_LOGARITHMIC, DABS_PER_BASIC, DABS_PER_ACTUAL = 0, 3, 6, 7  # MyPaintBrushSetting

    def __init__(self, size: int) -> None:
        self.library = library = ctypes.CDLL("libmypaint-1.5.so.1")
        pointer, real = ctypes.c_void_p, ctypes.c_float
        for name, result, *arguments in (
            ("mypaint_brush_new", pointer),
            ("mypaint_brush_from_defaults", None, pointer),
            ("mypaint_brush_set_base_value", None, pointer, ctypes.c_int, real),
            ("mypaint_brush_reset", None, pointer),
            ("mypaint_brush_new_stroke", None, pointer),
            ("mypaint_brush_stroke_to", ctypes.c_int, pointer, pointer, *[real] * 5, ctypes.c_double),
            ("mypaint_fixed_tiled_surface_new", pointer, ctypes.c_int, ctypes.c_int),
            ("mypaint_fixed_tiled_surface_interface", pointer, pointer),
            ("mypaint_surface_begin_atomic", None, pointer),
            ("mypaint_surface_end_atomic", None, pointer, pointer),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self.brush = library.mypaint_brush_new()
        library.mypaint_brush_from_defaults(self.brush)
        library.mypaint_brush_set_base_value(self.brush, self.OPAQUE, 1.0)
        library.mypaint_brush_set_base_value(self.brush, self.DABS_PER_BASIC, 0.0)
        library.mypaint_brush_set_base_value(self.brush, self.DABS_PER_ACTUAL, 1 / STEP)
        self.surface = library.mypaint_fixed_tiled_surface_interface(
            library.mypaint_fixed_tiled_surface_new(size, size)
        )

    def paint(self, radius: float, points: list[tuple[float, float]]) -> None:
        library, brush, surface = self.library, self.brush, self.surface
        library.mypaint_brush_set_base_value(brush, self.RADIUS_LOGARITHMIC, math.log(radius))
        library.mypaint_brush_reset(brush)
        library.mypaint_brush_new_stroke(brush)
        library.mypaint_surface_begin_atomic(surface)
        library.mypaint_brush_stroke_to(brush, surface, *points[0], 0.0, 0.0, 0.0, 10.0)
        for x, y in points:
            library.mypaint_brush_stroke_to(brush, surface, x, y, 1.0, 0.0, 0.0, 0.05)
        library.mypaint_surface_end_atomic(surface, None)


def mypaint(strokes: np.ndarray, size: int) -> Callable[[], None]:
    engine = MyPaint(size)
    work = [(float(s[9]) / 2 * size, [tuple(map(float, p)) for p in curve(s, EVENTS) * size]) for s in strokes]

    def paint() -> None:
        for radius, points in work:
            engine.paint(radius, points)

    return paint


def circles(strokes: np.ndarray, size: int) -> Callable[[], None]:
    """LearningToPaint's `draw`: 100 circles a stroke at twice the size, shrunk by half."""
    import cv2

    cv2.setNumThreads(1)
    work = [(max(1, int(s[9] / 2 * 2 * size)), (curve(s, 100) * 2 * size).astype(int).tolist()) for s in strokes]

    def paint() -> None:
        for radius, points in work:
            canvas = np.zeros((2 * size, 2 * size), np.float32)
            for x, y in points:
                cv2.circle(canvas, (x, y), radius, 1.0, -1)
            cv2.resize(canvas, (size, size))

    return paint


def compare(title: str, one: Callable[[], None], other: Callable[[], None]) -> None:
    seconds: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):  # the first round warms up
        marks = [time.process_time()]
        for paint in (one, other):
            paint()
            marks.append(time.process_time())
        seconds.append((marks[1] - marks[0], marks[2] - marks[1]))
    ours_rate, theirs = (STROKES / statistics.median(column) for column in list(zip(*seconds[1:], strict=True)))
    ratio = statistics.median(b / a for a, b in seconds[1:])
    print(f"{title:<44} ours {ours_rate:>8,.0f}/s  theirs {theirs:>8,.0f}/s  ratio {ratio:.1f}", flush=True)


def main() -> None:
    strokes, textured = random_strokes(STROKES), load_brush("oil").with_settings(stroke=CURVES, dab={"jitter": {}})
    for size in (64, 256):
        compare(f"libmypaint, default brush, {size}²", painting(textured, size, STROKES), mypaint(strokes, size))
    for size in (64, 128):
        grey = painting(textured, size, STROKES, channels=1)
        compare(f"LearningToPaint's OpenCV circles, {size}²", grey, circles(strokes, size))


if __name__ == "__main__":
    main()
