"""The default painter: better than greedy search, within the brush's ranges, colours solved to the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from garl.brush.geometry import fully_pressed
from garl.brush.spec import load_brush
from garl.commission import Commission
from garl.engine.paint import PreparedBrushes
from garl.evaluate.pixels import mean_squared_error
from garl.paint_picture import lay as lay_strokes
from garl.palette import nearest
from garl.systems.greedy import GreedyConfig, greedy
from garl.systems.refine import RefineConfig, gather, lay, masks, propose, recolor, refine, snap
from garl.types import Ground

PAPER = np.array([255, 240, 200], np.uint8)
QUICK = RefineConfig(stages=3, steps=15, last_steps=60)
FAIR = RefineConfig(stages=12, steps=20, last_steps=150)


def picture(height: int = 30, width: int = 44) -> np.ndarray:
    """Waves and a disc, not alike in any direction or channel."""
    y, x = np.indices((height, width))
    waves = np.stack([128 + 100 * np.sin(x / 5), 128 + 100 * np.sin(y / 7), 128 + 90 * np.sin((x + 2 * y) / 9)])
    waves[:, np.hypot(x - 30, y - 10) < 7] = [[20], [200], [90]]
    return waves.astype(np.uint8)


def blank(seed: int = 0, size: tuple[int, int] = (30, 44)) -> Ground:
    return Ground.blank(PAPER, size, seed)


def painted(strokes: np.ndarray, brush: str, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    canvas = blank(seed, shape).canvas
    lay_strokes(canvas, strokes, [PreparedBrushes(load_brush(brush))], seed)
    return canvas


def test_it_beats_greedy_search_at_equal_strokes() -> None:
    brush = load_brush("hard_round")
    searched = greedy(Commission(picture(), blank(0), 40, brush, 0), GreedyConfig(proposals=200, patience=50))
    refined = refine(Commission(picture(), blank(0), 40, brush, 0), FAIR)
    errors = [mean_squared_error(painted(s, "hard_round", (30, 44)), picture()) for s in (searched, refined)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("name", ["line", "point", "triangle", "oil"])
def test_every_kind_of_brush_paints_within_its_ranges(name: str) -> None:
    brush = load_brush(name)
    strokes = refine(Commission(picture(), blank(2), 12, brush, 2), QUICK)
    control = brush.spec.control
    assert strokes.shape == (12, 14)
    assert ((strokes >= 0) & (strokes <= 1)).all()
    assert (strokes[:, 9] >= np.float32(control.min_thickness)).all()
    assert (strokes[:, 9] <= np.float32(control.max_thickness)).all()
    assert (strokes[:, 10] >= np.float32(control.min_opacity)).all()
    assert (strokes[:, 10] <= np.float32(control.max_opacity)).all()
    strokes = recolor(strokes, picture(), blank(2), brush)
    paper = painted(strokes[:0], name, (30, 44))
    assert mean_squared_error(painted(strokes, name, (30, 44), 2), picture()) < 0.8 * mean_squared_error(
        paper, picture()
    )


def test_the_seed_decides() -> None:
    brush = load_brush("hard_round")
    first, again, other = (refine(Commission(picture(), blank(seed), 9, brush, seed), QUICK) for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_stroke_and_no_time_are_enough() -> None:
    told: list[float] = []
    brush, thin = load_brush("hard_round"), picture(1, 50)
    strokes = refine(Commission(thin, blank(0, (1, 50)), 1, brush, 0, lambda share, *_: told.append(share), 1e-3))
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
    boxes, cover = masks(strokes, blank(6), brush)
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
    found = recolor(lost, target, blank(), brush)
    assert mean_squared_error(painted(found, "hard_round", (30, 44)), target) < 2e-5
    assert np.array_equal(found[:, [0, 1, 2, 3, 4, 5, 9, 10]], strokes[:, [0, 1, 2, 3, 4, 5, 9, 10]])


def test_snapped_colours_are_of_the_palette_and_none_alone_could_be_better() -> None:
    brush, rng = load_brush("hard_round"), np.random.default_rng(3)
    strokes = fully_pressed(np.clip(rng.random((9, 11), np.float32), 0.1, 0.9))
    strokes[:, 9] = 0.3
    palette = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.1], [0.3, 0.8, 0.6], [0.95, 0.95, 0.9]], np.float32)
    snapped = snap(strokes, picture(), blank(), brush, palette)
    assert np.array_equal(np.delete(snapped, [6, 7, 8], 1), np.delete(strokes, [6, 7, 8], 1))
    boxes, cover = masks(strokes, blank(), brush)

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


def test_it_paints_what_is_free_of_a_canvas_that_is_begun() -> None:
    """Beside locked pixels as wrong as can be, which are no reason to paint, what is free gets the strokes."""
    brush, begun = load_brush("hard_round"), 255 - picture()
    free = np.zeros((30, 44), np.bool_)
    free[:, :14] = True
    ground = Ground(begun, free)
    target = np.where(free, picture(), begun)
    strokes = recolor(refine(Commission(target, ground, 20, brush, 1), FAIR), target, ground, brush)
    canvas = begun.copy()
    lay_strokes(canvas, strokes, [PreparedBrushes(brush)], 0, 0, free)
    assert np.array_equal(canvas[:, ~free], begun[:, ~free])
    assert mean_squared_error(canvas, target) < 0.1 * mean_squared_error(begun, target)
    everywhere = refine(Commission(picture(), replace(ground, free=np.ones_like(free)), 20, brush, 1), FAIR)
    assert (strokes[:, [0, 4]].mean(1) < 0.4).mean() > 0.95 > 0.6 > (everywhere[:, [0, 4]].mean(1) < 0.4).mean()


def test_masks_know_what_is_locked_and_the_numbers_of_strokes() -> None:
    brush, rng = load_brush("charcoal"), np.random.default_rng(1)
    strokes = fully_pressed(np.clip(rng.random((9, 11), np.float32), 0.05, 0.9))
    free = rng.random((30, 44)) > 0.5
    boxes, cover = masks(strokes[4:], replace(blank(6), free=free, painted=4), brush)
    assert np.array_equal(boxes[:, :4], masks(strokes, blank(6), brush)[0][4:, :4])
    canvas = np.zeros((3, 30, 44), np.float32)
    lay(strokes[4:, 6:9], boxes, cover, canvas)
    wanted = np.zeros((3, 30, 44), np.uint8)
    lay_strokes(wanted, strokes[4:], [PreparedBrushes(brush)], 6, 4, free)
    assert np.abs(255 * canvas - wanted).mean() < 1
    assert (canvas[:, ~free] == 0).all()
    assert canvas[:, free].mean() > 0.05
