"""The GPU's kernels, run by numba's simulator on the CPU, against the CPU's."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_kernels import awkward_strokes, pressed, stroke

from garl.bench import EVERYTHING
from garl.brush.geometry import OPACITY
from garl.brush.spec import Brush, library, load_brush
from garl.engine.paint import PreparedBrushes, render_strokes

Job = tuple[np.ndarray, np.ndarray, np.ndarray, int, PreparedBrushes, int]


def job(brush: Brush, which: slice, shape: tuple[int, int, int] = (3, 10, 18), scale: int = 1) -> Job:
    """Some of the awkward strokes, as the arguments of `render_strokes`. Simulated threads are slow: paint small."""
    strokes = awkward_strokes(brush)[which]
    canvas = np.random.default_rng(6).integers(0, 256, (len(strokes), *shape), np.uint8)
    return canvas, strokes, np.random.default_rng(7).integers(0, 2**62, len(strokes)), 3, PreparedBrushes(brush), scale


def simulated(jobs: dict[str, Job], folder: Path) -> dict[str, np.ndarray]:
    """What the GPU's kernels make of them."""
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    program = Path(__file__).with_name("simulate.py")
    subprocess.run([sys.executable, program, folder / "jobs", folder / "painted"], check=True)
    return pickle.loads((folder / "painted").read_bytes())


LIBRARY = {name: job(load_brush(name), slice(1, 2)) for name in library()}
FEATURES = {
    f"{kind}, {scale} times larger": job(
        load_brush("oil").with_settings(stroke={"type": kind, "step": 0.6}, texture={"opacity": 0.9}, **EVERYTHING),
        slice(which, which + 1),
        (channels, 6, 9),
        scale,
    )
    for kind, which, channels, scale in (
        ("bezier", 6, 3, 2),
        ("line", 6, 1, 1),
        ("triangle", 0, 3, 2),
        ("point", 8, 1, 2),
    )
} | {
    "no length, no tangent, there and back": job(load_brush("oil"), slice(4, 7), (3, 5, 9)),
    "a grey canvas of four tiles": job(load_brush("splatter"), slice(2, 3), (1, 18, 21)),
    "more dabs than fit into shared memory": job(
        load_brush("line").with_settings(stroke={"step": 0.2}), slice(0, 1), (3, 5, 4)
    ),
}


def several_brushes() -> Job:
    """Brushes that blur and do not, that tint and do not, under changing pressure; one pen is lifted."""
    brushes = [
        load_brush("hard_round"),
        load_brush("oil").with_settings(post_processing={"blur": 0.15}),
        load_brush("splatter"),
    ]
    curve = stroke(0.1, 0.3, 0.4, 0.9, 0.9, 0.6, color=(0.2, 0.9, 0.4), thickness=0.5, opacity=0.8)
    strokes = pressed(np.repeat(curve, 5, 0), len(brushes))
    strokes[4, OPACITY] = 0.0
    canvas = np.random.default_rng(6).integers(0, 256, (5, 3, 8, 11), np.uint8)
    return canvas, strokes, np.random.default_rng(7).integers(0, 2**62, 5), 3, PreparedBrushes(*brushes), 1


FEATURES["a brush and a pressure for each stroke"] = several_brushes()


@pytest.mark.parametrize("jobs", [LIBRARY, FEATURES], ids=["library", "features"])
def test_equals_the_cpu(jobs: dict[str, Job], tmp_path: Path) -> None:
    painted = simulated(jobs, tmp_path)
    differences: dict[str, Any] = {}
    for name, (canvas, *arguments) in jobs.items():
        expected = canvas.copy()
        render_strokes(expected, *arguments)
        assert (expected != canvas).any(), f"{name}: the stroke must leave paint"
        differences[name] = np.abs(painted[name].astype(int) - expected).max()
    assert max(differences.values()) <= 1, differences
