"""`garl bench`: the rates are measured, and stand beside the reference."""

from __future__ import annotations

import time

import numpy as np
import pytest

from garl import bench
from garl.brush.spec import load_brush
from garl.systems.garl import Config


def test_shortest_takes_the_fastest_run_after_a_warm_up() -> None:
    durations = iter([9.0, 3.0, 2.0, 5.0, 3.0, 3.0, 3.0, 3.0])
    now = [0.0]

    def work() -> None:
        now[0] += next(durations)

    assert bench.shortest(work, lambda: now[0]) == 2.0


def test_random_strokes_have_the_documented_range() -> None:
    strokes = bench.random_strokes(1000)
    assert strokes.shape == (1000, 14)
    assert strokes.dtype == np.float32
    assert strokes[:, 9].min() == pytest.approx(2 / 64, abs=0.001)
    assert strokes[:, 9].max() == pytest.approx(18 / 64, abs=0.001)


def test_painting_paints_every_canvas_the_same_on_any_number_of_threads() -> None:
    canvases = []
    for threads in (1, 2):
        paint = bench.painting(load_brush("oil"), 16, n=8, canvases=4, threads=threads)
        paint()
        cells = paint.__closure__
        assert cells is not None
        canvases.append(next(c.cell_contents for c in cells if getattr(c.cell_contents, "ndim", 0) == 4))
    assert (canvases[0] != 255).any((1, 2, 3)).all()
    np.testing.assert_array_equal(*canvases)


def test_cycle_rate_is_strokes_over_seconds_after_the_warm_up(tiny_config: Config) -> None:
    start = time.perf_counter()
    rate = bench.cycle_rate(tiny_config, cycles=2, warm_up=1)
    # 2 cycles of 8 paintings of 2 strokes took less than the whole call
    assert rate > 32 / (time.perf_counter() - start)


def test_report_names_machine_and_reference() -> None:
    report = bench.run_bench("engine")
    rates = report["strokes_per_second"]
    assert all(rate["here"] > 0 for rate in rates.values())
    assert {"engine 64×64 textured, 1 core", "engine 256×256 jittered, 1 core"} <= set(rates)
    assert rates["engine 64×64 textured, 1 core"]["reference"] > 0
    assert report["reference"]
