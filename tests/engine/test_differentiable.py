"""The twin against slow arithmetic, finite differences and the engine itself."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from garl.brush.geometry import (
    COLOR,
    END_PRESSURE,
    OPACITY,
    POINTS_PER_TYPE,
    START_PRESSURE,
    STROKE_SIZE,
    fully_pressed,
)
from garl.brush.spec import load_brush
from garl.engine import differentiable
from garl.engine.differentiable import Tip, paint, polyline, tip_of
from garl.engine.paint import PreparedBrushes, render_strokes

HEIGHT, WIDTH = 23, 31


def pressed(rows: list[list[float]]) -> Tensor:
    return torch.from_numpy(fully_pressed(np.array(rows, np.float32)))


def strokes_of(kind: str, n: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    strokes = pressed(torch.rand(n, 11, generator=random).tolist())
    strokes[:, 9] = 0.1 + 0.2 * strokes[:, 9]
    strokes[:, 10] = 0.3 + 0.6 * strokes[:, 10]
    for point in range(POINTS_PER_TYPE[kind], 3):
        strokes[:, 2 * point : 2 * point + 2] = strokes[:, 2 * point - 2 : 2 * point]
    return strokes


def tip(kind: str, radius: float = 0.45, edge: float = 0.6, strength: float = 0.9) -> Tip:
    filled = kind == "triangle"
    return Tip(polyline(kind), filled, 0.0 if filled else radius, edge, strength)


def paper() -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(9))


def test_one_stroke_is_the_equation_at_every_pixel() -> None:
    """A line, whose distance has a closed form, on a canvas that is wider than high."""
    stroke = pressed([[0.2, 0.3, 0.8, 0.6, 0.8, 0.6, 0.9, 0.1, 0.4, 0.3, 0.7]])
    y, x = np.indices((HEIGHT, WIDTH)) + 0.5
    start, end = np.array([0.2 * WIDTH, 0.3 * HEIGHT]), np.array([0.8 * WIDTH, 0.6 * HEIGHT])
    along = end - start
    f = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / (along @ along), 0, 1)
    distance = np.hypot(x - start[0] - f * along[0], y - start[1] - f * along[1])
    u = np.clip((0.45 * 0.3 * HEIGHT - distance) / (0.6 * 0.3 * HEIGHT) + 0.5, 0, 1)
    alpha = 0.7 * 0.9 * u * u * (3 - 2 * u)
    ground = paper().numpy()
    wanted = ground + alpha * (np.array([0.9, 0.1, 0.4])[:, None, None] - ground)
    np.testing.assert_allclose(paint(stroke, paper(), tip("line")).numpy(), wanted, atol=2e-6)


def test_a_stroke_narrows_with_its_pressure_and_covers_as_much_as_its_width() -> None:
    """A level line from wide to narrow, each column of which covers 2 · radius · thickness · pressure · height pixels,
    also where that is less than one; beyond its ends there is nothing."""
    stroke = pressed([[0.25, 0.5, 0.75, 0.5, 0.75, 0.5, 1, 1, 1, 0.2, 1]])
    stroke[:, START_PRESSURE], stroke[:, END_PRESSURE] = 1.0, 0.05
    painted = paint(stroke, torch.zeros(3, 40, 200), tip("line", edge=0.0, strength=1.0))[0]
    x = torch.arange(200) + 0.5
    wanted = 2 * 0.45 * 0.2 * 40 * (1.0 - 0.95 * (x - 50) / 100)
    torch.testing.assert_close(painted.sum(0)[52:148], wanted[52:148], atol=0.03, rtol=0)
    assert wanted[147] < 0.6
    assert not painted[:, 153:].any()


def test_pressure_is_the_engines() -> None:
    """Strokes whose pressure falls or grows, fine ends included: nearer to the engine than at their mean pressure."""
    brush = load_brush("hard_round")
    shape, ink, apart = tip_of(brush), 0.0, {"pressure": 0.0, "level": 0.0}
    for i, stroke in enumerate(strokes_of("bezier", 20)):
        stroke[START_PRESSURE], stroke[END_PRESSURE] = (1.0, 0.1) if i % 2 else (0.2, 0.9)
        stroke[OPACITY] = stroke[COLOR] = 1.0
        level = stroke.clone()
        level[START_PRESSURE] = level[END_PRESSURE] = stroke[START_PRESSURE : END_PRESSURE + 1].mean()
        canvas = np.zeros((1, 3, 64, 64), np.uint8)
        render_strokes(canvas, stroke[None].numpy(), np.array([0]), i, PreparedBrushes(brush))
        truth = torch.from_numpy(canvas[0]) / 255
        ink += float(truth.sum())
        for name, one in (("pressure", stroke), ("level", level)):
            apart[name] += float((paint(one[None], torch.zeros(3, 64, 64), shape) - truth).abs().sum())
    assert apart["pressure"] < 0.2 * ink
    assert apart["level"] > 0.4 * ink


def test_a_triangle_covers_its_area() -> None:
    stroke = pressed([[0.2, 0.2, 0.8, 0.2, 0.2, 0.9, 1, 1, 1, 0.1, 1]])
    painted = paint(stroke, torch.zeros(3, 100, 150), tip("triangle", edge=0.0, strength=1.0))
    assert painted[0].sum() == pytest.approx(0.5 * 0.6 * 150 * 0.7 * 100, rel=0.01)


WIDTHS = [*product(["bezier", "line", "point"], ["full", "tapered", "fine"]), ("triangle", "full")]
"""Stroke types, and how wide their strokes are; a triangle has no width."""


@pytest.mark.parametrize(("kind", "width"), WIDTHS)
def test_gradients_are_finite_differences(kind: str, width: str) -> None:
    """Of a random linear loss, in every number of overlapping strokes, and in the canvas below them."""
    strokes, ground = strokes_of(kind, 4), paper()
    if width != "full":
        strokes[:, 11:13] = 0.3 + 0.7 * torch.rand(4, 2, generator=torch.Generator().manual_seed(2))
    if width == "fine":  # finer than a pixel
        strokes[:, 9] = 0.3 / HEIGHT + 0.5 * strokes[:, 9] / HEIGHT
    weight = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    leaf, below = strokes.clone().requires_grad_(), ground.clone().requires_grad_()
    (paint(leaf, below, tip(kind)) * weight).sum().backward()
    assert leaf.grad is not None
    assert below.grad is not None

    def loss(changed: Tensor, canvas: Tensor = ground) -> float:
        return float((paint(changed, canvas, tip(kind)).double() * weight).sum())

    found = torch.zeros_like(strokes)
    for i in range(strokes.numel()):
        step = 1e-3 if i % STROKE_SIZE in (START_PRESSURE, END_PRESSURE) else 1e-4  # a pressure says less
        change = torch.zeros(strokes.numel())
        change[i] = step
        change = change.view_as(strokes)
        found.view(-1)[i] = (loss(strokes + change) - loss(strokes - change)) / (2 * step)
    scale = found.abs().amax(0).clamp(min=1.0)  # of each column
    assert ((leaf.grad - found).abs() / scale).max() < 3e-3
    if kind == "triangle":
        assert found[:, 9].abs().max() < 10  # the thickness sets its edge alone
    bump = torch.randn(ground.shape, generator=torch.Generator().manual_seed(4)) * 1e-2
    slope = (loss(strokes, ground + bump) - loss(strokes, ground - bump)) / 2
    assert float((below.grad * bump).sum()) == pytest.approx(slope, rel=1e-3)


def test_worth_is_what_the_error_grows_by_without_the_stroke() -> None:
    strokes, ground, shape = strokes_of("bezier", 6), paper(), tip("bezier")
    picture = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))

    def error(kept: Tensor) -> float:
        return float(((paint(kept, ground, shape) - picture).double() ** 2).sum())

    without = [error(torch.cat([strokes[:i], strokes[i + 1 :]])) for i in range(6)]
    wanted = torch.tensor(without) - error(strokes)
    torch.testing.assert_close(differentiable.worth(strokes, picture, ground, shape), wanted.float(), atol=2e-3, rtol=0)


def test_where_it_is_locked_the_background_stays_and_no_stroke_is_worth_anything() -> None:
    strokes, ground, shape = strokes_of("bezier", 6), paper(), tip("bezier")
    picture = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))
    free = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6)) < 0.4

    def error(kept: Tensor) -> float:
        return float(((paint(kept, ground, shape, free) - picture).double() ** 2).sum())

    canvas = paint(strokes, ground, shape, free)
    assert torch.equal(canvas[:, ~free], ground[:, ~free])
    assert torch.equal(canvas[:, free], paint(strokes, ground, shape)[:, free])
    without = [error(torch.cat([strokes[:i], strokes[i + 1 :]])) for i in range(6)]
    wanted = torch.tensor(without) - error(strokes)
    worth = differentiable.worth(strokes, picture, ground, shape, free)
    torch.testing.assert_close(worth, wanted.float(), atol=2e-3, rtol=0)


def test_no_strokes_leave_the_paper() -> None:
    none = torch.empty(0, STROKE_SIZE)
    assert torch.equal(paint(none, paper(), tip("bezier")), paper())
    assert differentiable.worth(none, paper(), paper(), tip("bezier")).shape == (0,)


def test_a_stroke_off_the_canvas_paints_nothing() -> None:
    off = pressed([[2.0, 2, 2, 2, 2, 2, 1, 0, 0, 0.1, 1]]).requires_grad_()
    painted = paint(off, paper(), tip("point"))
    assert torch.equal(painted.detach(), paper())
    painted.sum().backward()
    assert off.grad is not None
    assert not off.grad.any()


@pytest.mark.parametrize(("name", "most"), [("hard_round", 1.5), ("line", 1.5), ("triangle", 1.5), ("soft_round", 6.0)])
def test_the_picture_is_close_to_the_engine(name: str, most: float) -> None:
    """Mean gap after 20 strokes, in steps of 1/255."""
    brush = load_brush(name)
    strokes = strokes_of(brush.spec.stroke.type, 20)
    canvas = np.full((1, 3, 96, 128), 255, np.uint8)
    for i in range(20):
        render_strokes(canvas, strokes[i : i + 1].numpy(), np.array([0]), i, PreparedBrushes(brush))
    twin = paint(strokes, torch.ones(3, 96, 128), tip_of(brush))
    assert (255 * twin - torch.from_numpy(canvas[0])).abs().mean() < most
