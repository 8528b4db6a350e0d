"""Greedy search: the colour is the best there is, and what is found is what the engine paints."""

from __future__ import annotations

import numpy as np

from garl.brush.spec import load_brush
from garl.commission import Commission
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.evaluate.pixels import mean_squared_error
from garl.systems.greedy import GreedyConfig, greedy
from garl.types import Ground

PAPER = np.array([255, 240, 200], np.uint8)
QUICK = GreedyConfig(proposals=60, patience=20)


def replayed(strokes: np.ndarray, brush: str, shape: tuple[int, int], seed: int) -> np.ndarray:
    canvas = np.empty((1, 3, *shape), np.uint8)
    canvas[:] = PAPER[:, None, None]
    for i in range(len(strokes)):
        render_strokes(canvas, strokes[i : i + 1], np.array([seed]), i, PreparedBrushes(load_brush(brush)))
    return canvas[0]


def blank(seed: int = 0, size: tuple[int, int] = (20, 28)) -> Ground:
    return Ground.blank(PAPER, size, seed)


def picture(height: int = 20, width: int = 28) -> np.ndarray:
    y, x = np.indices((height, width))
    return np.stack([x * 9, y * 12, (x + y) * 5]).astype(np.uint8)


def test_no_other_colour_is_better() -> None:
    """The closed form against a walk about it, on a canvas that already holds a stroke."""
    strokes = greedy(Commission(picture(), blank(1), 2, load_brush("soft_round"), 1), QUICK)
    found = mean_squared_error(replayed(strokes, "soft_round", (20, 28), 1), picture())
    for channel in (6, 7, 8):
        for step in (-0.04, 0.04):
            other = strokes.copy()
            other[1, channel] = np.clip(other[1, channel] + step, 0, 1)
            assert mean_squared_error(replayed(other, "soft_round", (20, 28), 1), picture()) >= found - 1e-6


def test_the_error_it_tells_is_that_of_its_strokes_in_the_engine() -> None:
    told: list[tuple[float, int, float]] = []
    strokes = greedy(
        Commission(picture(), blank(3), 5, load_brush("splatter"), 3, lambda *news: told.append(news)), QUICK
    )
    errors = [mean_squared_error(replayed(strokes[:n], "splatter", (20, 28), 3), picture()) for n in range(6)]
    assert [news[1] for news in told] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([news[2] for news in told], errors[1:], rtol=1e-6)
    assert errors[5] < 0.6 * errors[0]


def test_strokes_keep_to_their_parts() -> None:
    parts = np.array([[0.5, 0.0, 1.0, 0.25], [0.0, 0.75, 0.5, 1.0], [0.2, 0.3, 0.6, 0.4]])
    asked = Commission(picture(), blank(5), 3, load_brush("soft_round"), 5)
    points = greedy(asked, QUICK, parts=parts)[:, :6].reshape(3, 3, 2)
    assert (points >= parts[:, None, :2] - 1e-6).all()
    assert (points <= parts[:, None, 2:] + 1e-6).all()


def test_strokes_keep_to_the_brush_and_to_the_seed() -> None:
    brush = load_brush("marker")
    strokes = greedy(Commission(picture(), blank(5), 4, brush, 5), QUICK)
    control = brush.spec.control
    assert ((strokes >= 0) & (strokes <= 1)).all()
    assert (strokes[:, 9] >= np.float32(control.min_thickness)).all()
    assert (strokes[:, 9] <= np.float32(control.max_thickness)).all()
    assert (strokes[:, 10] >= np.float32(control.min_opacity)).all()
    assert (strokes[:, 10] <= np.float32(control.max_opacity)).all()
    assert np.array_equal(strokes, greedy(Commission(picture(), blank(5), 4, brush, 5), QUICK))
    assert not np.array_equal(strokes, greedy(Commission(picture(), blank(6), 4, brush, 6), QUICK))


def test_the_time_is_kept() -> None:
    assert len(greedy(Commission(picture(), blank(0), 1000, load_brush("line"), 0, seconds=1e-9), QUICK)) == 1


def test_locked_pixels_stay_and_do_not_count() -> None:
    """The colour is best for what is free alone, on a canvas that holds strokes with numbers of their own."""
    brush, begun = load_brush("splatter"), 255 - picture()
    free = np.indices((20, 28))[1] < 11
    ground, told = Ground(begun, free, 7, 3), []
    target = np.where(free, picture(), begun)

    def note(share: float, count: int, error: float, canvas: np.ndarray) -> None:
        told.append((error, canvas.copy()))

    strokes = greedy(Commission(target, ground, 4, brush, 1, note), QUICK)
    canvas = begun[None].copy()
    for i, (error, shown) in enumerate(told):
        render_strokes(canvas, strokes[i : i + 1], np.array([7]), 3 + i, PreparedBrushes(brush))
        canvas[0][:, ~free] = begun[:, ~free]
        assert np.array_equal(shown, canvas[0])
        assert error == mean_squared_error(canvas[0], target)
    errors = [mean_squared_error(begun, target)] + [error for error, _ in told]
    assert errors == sorted(errors, reverse=True)
    assert errors[4] < 0.7 * errors[0]
