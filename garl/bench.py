"""`garl bench`: how fast the brush engine and the training cycle run on this machine, beside the figures of ours."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from garl.brush.geometry import PLAIN_SIZE, STROKE_SIZE, fully_pressed
from garl.brush.spec import Brush, load_brush
from garl.engine.paint import CORES, PreparedBrushes, render_strokes
from garl.runs import records
from garl.systems.garl import DIGITS, THESIS, Config, train

STEP = 0.2
"""Dabs lie this many radii apart."""
CURVES = {"type": "bezier", "step": STEP}
EVERYTHING: dict[str, dict[str, Any]] = {
    "dab": {
        "start_scale": 0.6,
        "end_scale": 1.3,
        "follow_stroke_angle": True,
        "jitter": {"scale": 0.4, "rotation": 70, "position": 0.3, "color": 0.4, "opacity": 0.6},
    },
    "post_processing": {"blur": 0.15, "noise": 0.7, "edge_blend": 0.8},
}
"""Settings that turn on all that the engine does to a dab (see `Brush.with_settings`)."""
REPEATS = 7


def random_strokes(n: int) -> np.ndarray:
    """(n, 14) float32: Bézier curves with random control points, radius 1/64 to 9/64 of the canvas."""
    rng = np.random.default_rng(0)
    strokes = rng.uniform(0, 1, (n, PLAIN_SIZE)).astype(np.float32)
    strokes[:, 9] = 2 * rng.uniform(1 / 64, 9 / 64, n)
    return fully_pressed(strokes)


def painting(
    brush: Brush, size: int, n: int = 512, canvases: int = 64, channels: int = 3, threads: int = 1
) -> Callable[[], None]:
    """A function that paints `n` random strokes, the same each time, on pictures of `size` × `size`."""
    prepared, seeds = PreparedBrushes(brush), np.arange(canvases)
    batches = random_strokes(n).reshape(-1, canvases, STROKE_SIZE)
    canvas = np.full((canvases, channels, size, size), 255, np.uint8)

    def paint() -> None:
        for index, strokes in enumerate(batches):
            render_strokes(canvas, strokes, seeds, index, prepared, threads=threads)

    return paint


def shortest(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of several runs of `work`, after one to warm up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = clock()
        work()
        seconds.append(clock() - start)
    return min(seconds)


def engine_rates() -> dict[str, float]:
    """Strokes a second of the engine on the CPU: textured and jittered brushes, on one core and on all."""
    rates = {}
    textured = load_brush("oil").with_settings(stroke=CURVES, dab={"jitter": {}})
    jittered = load_brush("splatter").with_settings(stroke=CURVES)
    for size in (64, 256):
        for title, brush in (("textured", textured), ("jittered", jittered)):
            for threads in sorted({1, CORES}):
                name = f"engine {size}×{size} {title}, {threads} {'core' if threads == 1 else 'cores'}"
                rates[name] = 512 / shortest(painting(brush, size, threads=threads))
    return rates


def cycle_rate(config: Config, cycles: int, warm_up: int) -> float:
    """Strokes a second of the whole training cycle, without start-up and the first `warm_up` cycles."""
    budget = {"minutes": None, "steps": None, "episodes": (warm_up + cycles) * config.envs}
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):  # its progress is no part of the report
            train(config.model_copy(update=budget), Path(folder) / "run")
        lines = records(Path(folder) / "run")
    first, last = lines[warm_up - 1], lines[-1]
    return (last["steps"] - first["steps"]) / (last["seconds"] - first["seconds"])


def training_rates(device: str) -> dict[str, float]:
    """Strokes a second of the presets' training cycles; the thesis's with 8 canvases instead of 64, to be short."""
    small = THESIS.model_copy(update={"data": "digits", "envs": 8, "device": device})
    return {
        "training, digits preset": cycle_rate(DIGITS.model_copy(update={"device": device}), cycles=20, warm_up=5),
        "training, thesis preset": cycle_rate(small, cycles=1, warm_up=1),
    }


def run_bench(what: Literal["engine", "train", "all"] = "all", device: str = "auto") -> dict[str, Any]:
    """What `garl bench` reports: the machine, and each rate here and on the machine of `bench.json`."""
    rates = engine_rates() if what in ("engine", "all") else {}
    rates |= training_rates(device) if what in ("train", "all") else {}
    reference = json.loads(Path(__file__).with_name("bench.json").read_text())
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        "reference": reference["machine"],
        "strokes_per_second": {
            name: {"here": round(rate), "reference": reference["strokes_per_second"].get(name)}
            for name, rate in rates.items()
        },
    }
