"""The default painter: better than greedy search, within the brush's ranges, colours solved to the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from garl.brush.geometry import fully_pressed
from garl.brush.spec import load_brush
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.evaluate.pixels import mean_squared_error
from garl.palette import nearest
from garl.systems.greedy import GreedyConfig, greedy
from garl.systems.refine import RefineConfig, gather, lay, masks, propose, recolor, refine, snap

PAPER = np.array([255, 240, 200], np.uint8)
QUICK = RefineConfig(stages=3, steps=15, last_steps=60)
FAIR = RefineConfig(stages=12, steps=20, last_steps=150)


def picture(height: int = 30, width: int = 44) -> np.ndarray:
    """Waves and a disc, not alike in any direction or channel."""
    y, x = np.indices((height, width))
    waves = np.stack([128 + 100 * np.sin(x / 5), 128 + 100 * np.sin(y / 7), 128 + 90 * np.sin((x + 2 * y) / 9)])
    waves[:, np.hypot(x - 30, y - 10) < 7] = [[20], [200], [90]]
    return waves.astype(np.uint8)


def painted(strokes: np.ndarray, brush: str, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    canvas = np.empty((1, 3, *shape), np.uint8)
    canvas[:] = PAPER[:, None, None]
    for i, stroke in enumerate(strokes):
        render_strokes(canvas, stroke[None], np.array([seed]), i, PreparedBrushes(load_brush(brush)))
    return canvas[0]


def test_it_beats_greedy_search_at_equal_strokes() -> None:
    brush = load_brush("hard_round")
    searched = greedy(picture(), PAPER, 40, brush, 0, config=GreedyConfig(proposals=200, patience=50))
    refined = refine(picture(), PAPER, 40, brush, 0, config=FAIR)
    errors = [mean_squared_error(painted(s, "hard_round", (30, 44)), picture()) for s in (searched, refined)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("name", ["line", "point", "triangle", "oil"])
def test_every_kind_of_brush_paints_within_its_ranges(name: str) -> None:
    brush = load_brush(name)
    strokes = refine(picture(), PAPER, 12, brush, 2, config=QUICK)
    control = brush.spec.control
    assert strokes.shape == (12, 14)
    assert ((strokes >= 0) & (strokes <= 1)).all()
    assert (strokes[:, 9] >= np.float32(control.min_thickness)).all()
    assert (strokes[:, 9] <= np.float32(control.max_thickness)).all()
    assert (strokes[:, 10] >= np.float32(control.min_opacity)).all()
    assert (strokes[:, 10] <= np.float32(control.max_opacity)).all()
    strokes = recolor(strokes, picture(), PAPER, brush, 2)
    blank = painted(strokes[:0], name, (30, 44))
    assert mean_squared_error(painted(strokes, name, (30, 44), 2), picture()) < 0.8 * mean_squared_error(
        blank, picture()
    )


def test_the_seed_decides() -> None:
    brush = load_brush("hard_round")
    first, again, other = (refine(picture(), PAPER, 9, brush, seed, config=QUICK) for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_stroke_and_no_time_are_enough() -> None:
    told: list[float] = []
    strokes = refine(picture(1, 50), PAPER, 1, load_brush("hard_round"), 0, lambda share, *_: told.append(share), 1e-3)
    assert strokes.shape == (1, 14)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_new_strokes_lie_where_the_error_is() -> None:
    target = torch.zeros(3, 40, 60)
    target[:, 5:15, 40:55] = 1.0
    rng = np.random.default_rng(0)
    strokes = propose(target, torch.zeros(3, 40, 60), 50, 0.02, load_brush("hard_round"), RefineConfig(), rng)
    middle = strokes[:, [0, 1]].add(strokes[:, [4, 5]]).div(2)
    assert ((middle[:, 0] > 38 / 60) & (middle[:, 0] < 57 / 60)).all()
    assert ((middle[:, 1] > 3 / 40) & (middle[:, 1] < 17 / 40)).all()


def test_masks_are_laid_as_the_engine_paints_and_gathered_as_their_adjoint() -> None:
    brush, rng = load_brush("charcoal"), np.random.default_rng(1)
    strokes = fully_pressed(np.clip(rng.random((7, 11), np.float32), 0.05, 0.9))
    strokes[:, 9] *= 0.4
    boxes, cover = masks(strokes, 30, 44, brush, 6)
    canvas = np.empty((3, 30, 44), np.float32)
    canvas[:] = PAPER[:, None, None] / 255
    lay(strokes[:, 6:9], boxes, cover, canvas)
    assert np.abs(255 * canvas - painted(strokes, "charcoal", (30, 44), 6)).mean() < 1  # each stroke rounds to 1/255
    colors, slope = rng.random((7, 3), np.float32), rng.random((3, 30, 44), np.float32)
    black = np.zeros((3, 30, 44), np.float32)
    lay(colors, boxes, cover, black)
    assert (black * slope).sum() == pytest.approx((gather(slope.copy(), boxes, cover) * colors).sum(), rel=1e-5)


def test_lost_colours_are_found_again() -> None:
    brush, rng = load_brush("hard_round"), np.random.default_rng(2)
    strokes = fully_pressed(np.clip(rng.random((8, 11), np.float32), 0.1, 0.9))
    strokes[:, 9] = 0.12
    target = painted(strokes, "hard_round", (30, 44))
    lost = strokes.copy()
    lost[:, 6:9] = 0.5
    found = recolor(lost, target, PAPER, brush, 0)
    assert mean_squared_error(painted(found, "hard_round", (30, 44)), target) < 2e-5
    assert np.array_equal(found[:, [0, 1, 2, 3, 4, 5, 9, 10]], strokes[:, [0, 1, 2, 3, 4, 5, 9, 10]])


def test_snapped_colours_are_of_the_palette_and_none_alone_could_be_better() -> None:
    brush, rng = load_brush("hard_round"), np.random.default_rng(3)
    strokes = fully_pressed(np.clip(rng.random((9, 11), np.float32), 0.1, 0.9))
    strokes[:, 9] = 0.3
    palette = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.1], [0.3, 0.8, 0.6], [0.95, 0.95, 0.9]], np.float32)
    snapped = snap(strokes, picture(), PAPER, brush, 0, palette)
    assert np.array_equal(np.delete(snapped, [6, 7, 8], 1), np.delete(strokes, [6, 7, 8], 1))
    boxes, cover = masks(strokes, 30, 44, brush, 0)

    def error(colors: np.ndarray) -> float:
        canvas = np.empty((3, 30, 44), np.float32)
        canvas[:] = PAPER[:, None, None] / 255
        lay(colors, boxes, cover, canvas)
        return float(np.square(canvas - picture().astype(np.float32) / 255).sum())

    colors = snapped[:, 6:9].copy()
    found = error(colors)
    assert all((color == palette).all(1).any() for color in colors)
    assert found < error(palette[nearest(strokes[:, 6:9], palette)])
    for i in range(9):
        for other in palette:
            changed = colors.copy()
            changed[i] = other
            assert error(changed) >= found * (1 - 1e-5)
