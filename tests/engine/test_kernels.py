"""The kernels against the slow reference, and against values known by hand. Every canvas has H ≠ W."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.bench import EVERYTHING
from garl.brush.geometry import BRUSH, END_PRESSURE, START_PRESSURE, STROKE_SIZE, fully_pressed
from garl.brush.spec import Brush, library, load_brush
from garl.engine import kernels, paint
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.engine.reference import render_strokes_slow

HEIGHT, WIDTH = 24, 40


def corner_brush(kind: str, follow: bool = False) -> Brush:
    """Paints 3/4 of the diameter in y and, in x, only the right half less its last eighth."""
    brush = load_brush("hard_square").with_settings(stroke={"type": kind}, dab={"follow_stroke_angle": follow})
    texture = np.zeros((64, 64), np.float32)
    texture[8:56, 32:56] = 1.0
    return Brush(brush.spec, texture)


def stroke(*points: float, color: float | tuple = 0.0, thickness: float = 0.5, opacity: float = 1.0) -> np.ndarray:
    """One stroke (1, 14) at full pressure; the points that are not given repeat the last one."""
    places = list(points) + list(points[-2:]) * 3
    red_green_blue = color if isinstance(color, tuple) else (color,) * 3
    return fully_pressed(np.array([[*places[:6], *red_green_blue, thickness, opacity]], np.float32))


def painted(brush: Brush, strokes: np.ndarray, shape: tuple[int, int] = (HEIGHT, WIDTH), scale: int = 1) -> np.ndarray:
    """Ink (H, W), 0..1, that black strokes (T, 14) leave on a white canvas."""
    canvas = np.full((1, 1, *shape), 255, np.uint8)
    prepared = PreparedBrushes(brush)
    for index in range(len(strokes)):
        render_strokes(canvas, strokes[index : index + 1], np.array([7]), index, prepared, scale)
    return 1 - canvas[0, 0] / 255.0


def awkward_strokes(brush: Brush) -> np.ndarray:
    """Nine strokes: four at random, reaching over the border, and the cases that are easy to get wrong."""
    rng, control = np.random.default_rng(5), brush.spec.control
    strokes = rng.uniform(0, 1, (9, 11)).astype(np.float32)
    strokes[:, :6] = rng.uniform(-0.15, 1.15, (9, 6))
    strokes[:, 9] = rng.uniform(control.min_thickness, control.max_thickness, 9)
    strokes[4, 2:6] = np.tile(strokes[4, :2], 2)  # no length
    strokes[5, 2:4] = strokes[5, :2]  # the tangent vanishes at the start
    strokes[6, 4:6] = strokes[6, :2]  # there and back
    strokes[7, 2:6] = strokes[7, [0, 1, 0, 1]] + np.array([0.1, 0.02, 0.05, 0.2])
    strokes[7, 9] = 0.004  # far thinner than a pixel
    strokes[8, 9] = 1.0  # wider than the canvas is long
    return fully_pressed(strokes)


def pressed(strokes: np.ndarray, brushes: int = 1) -> np.ndarray:
    """Strokes (B, 14) as they are, with other pressures, 0 and equal ones among them, and brushes in turn."""
    strokes, rng = strokes.copy(), np.random.default_rng(8)
    strokes[:, [START_PRESSURE, END_PRESSURE]] = rng.uniform(0.3, 1, (len(strokes), 2))
    strokes[0, [START_PRESSURE, END_PRESSURE]] = 0.0, 1.0
    strokes[1, [START_PRESSURE, END_PRESSURE]] = 0.9, 0.0
    strokes[2, [START_PRESSURE, END_PRESSURE]] = 0.4
    strokes[:, BRUSH] = np.arange(len(strokes)) % brushes
    return strokes


def assert_equals_reference(brush: Brush, channels: int, scale: int) -> None:
    assert_strokes_equal_reference(awkward_strokes(brush), PreparedBrushes(brush), channels, scale)


def assert_strokes_equal_reference(strokes: np.ndarray, prepared: PreparedBrushes, channels: int, scale: int) -> None:
    blank = np.random.default_rng(6).integers(0, 256, (len(strokes), channels, HEIGHT, WIDTH), np.uint8)
    seeds = np.random.default_rng(7).integers(0, 2**62, len(strokes))
    fast, slow = blank.copy(), blank.copy()
    render_strokes(fast, strokes, seeds, 3, prepared, scale)
    render_strokes_slow(slow, strokes, seeds, 3, prepared, scale)
    assert (slow != blank).mean() > 5e-4, "the strokes must leave paint"
    assert np.abs(fast.astype(int) - slow).max() <= 1


@pytest.mark.parametrize(("channels", "scale"), [(3, 1), (1, 2)])
@pytest.mark.parametrize("name", library())
def test_equals_reference(name: str, channels: int, scale: int) -> None:
    assert_equals_reference(load_brush(name), channels, scale)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("kind", ["bezier", "line", "triangle", "point"])
@pytest.mark.parametrize("flow", [1.0, 0.3])
def test_equals_reference_with_every_setting_on(kind: str, flow: float, scale: int) -> None:
    brush = load_brush("oil").with_settings(stroke={"type": kind, "step": 0.4}, texture={"opacity": flow}, **EVERYTHING)
    assert_equals_reference(brush, 3, scale)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("kind", ["bezier", "line", "triangle", "point"])
def test_equals_reference_under_any_pressure(kind: str, scale: int) -> None:
    brush = load_brush("splatter").with_settings(stroke={"type": kind, "step": 0.4}, **EVERYTHING)
    assert_strokes_equal_reference(pressed(awkward_strokes(brush)), PreparedBrushes(brush), 3, scale)


@pytest.mark.parametrize(("channels", "scale"), [(3, 1), (1, 2)])
def test_equals_reference_with_a_brush_for_each_stroke(channels: int, scale: int) -> None:
    # Textures of 64² and 128², tinted and untinted, with flow, blur, grain, and dabs that follow the stroke or do not.
    brushes = [load_brush(name) for name in ("hard_round", "splatter", "watercolour")] + [
        load_brush("oil").with_settings(**EVERYTHING)
    ]
    prepared = PreparedBrushes(*brushes)
    assert len({tuple(brush.levels[-1]) for brush in prepared.each}) > 1, "the mip levels must differ in number"
    assert_strokes_equal_reference(pressed(awkward_strokes(brushes[0]), len(brushes)), prepared, channels, scale)


def test_a_brush_among_others_paints_as_it_does_alone() -> None:
    brushes = [load_brush(name) for name in ("splatter", "hard_round", "oil")]
    strokes = pressed(awkward_strokes(brushes[0]), len(brushes))
    together = np.full((len(strokes), 3, HEIGHT, WIDTH), 255, np.uint8)
    render_strokes(together, strokes, np.arange(len(strokes)), 2, PreparedBrushes(*brushes))
    for number, brush in enumerate(brushes):
        own = strokes[:, BRUSH] == number
        alone = np.full((own.sum(), 3, HEIGHT, WIDTH), 255, np.uint8)
        first = strokes[own] * (np.arange(STROKE_SIZE) != BRUSH)
        render_strokes(alone, first.astype(np.float32), np.arange(len(strokes))[own], 2, PreparedBrushes(brush))
        np.testing.assert_array_equal(together[own], alone)


def test_a_brush_that_there_is_not() -> None:
    strokes = stroke(0.2, 0.3, 0.9, 0.1)
    for number in (-1, 1):
        strokes[0, BRUSH] = number
        with pytest.raises(AssertionError, match="no such brush"):
            render_strokes(
                np.zeros((1, 3, 5, 7), np.uint8), strokes, np.array([0]), 0, PreparedBrushes(load_brush("ink"))
            )


@settings(deadline=None)  # the first example compiles
@given(
    length=st.floats(0, 3),
    thickness=st.floats(0.004, 1),
    step=st.floats(0.01, 4),
    scales=st.tuples(st.floats(0.01, 4), st.floats(0.01, 4)),
)
def test_full_pressure_changes_nothing_in_the_last_bit(
    length: float, thickness: float, step: float, scales: tuple[float, float]
) -> None:
    dabs = kernels.count_dabs(length, thickness, step, 1.0, 1.0)
    assert dabs == 1 + min(kernels.MAX_DABS - 1, math.ceil(length / (step * 0.5 * thickness) - 1e-6))
    brush = np.zeros(13)
    brush[[kernels.START_SCALE, kernels.END_SCALE]] = scales
    for dab in {0, dabs // 3, dabs - 1}:
        fraction = dab / (dabs - 1) if dabs > 1 else 0.0
        assert kernels.dab_fraction(dab, dabs, 1.0, 1.0) == fraction
        size = thickness * (scales[0] + (scales[1] - scales[0]) * fraction)
        assert kernels.dab_size(brush, thickness, 1.0, 1.0, fraction, 5, 3, dab) == size


@pytest.mark.parametrize("name", ["hard_round", "ink", "watercolour"])
def test_even_pressure_is_a_thinner_stroke(name: str) -> None:
    brush = load_brush(name).with_settings(dab={"jitter": {}})
    light, thin = stroke(*CURVE, thickness=0.5), stroke(*CURVE, thickness=0.125)
    light[0, [START_PRESSURE, END_PRESSURE]] = 0.25
    assert painted(brush, light).sum() > 1
    np.testing.assert_array_equal(painted(brush, light), painted(brush, thin))


def test_pressure_widens_a_line_evenly_and_its_paint_does_not_thicken() -> None:
    # 12 pixels wide at full pressure: the profile at x is that wide times x's share of the way from 4 to 36.
    brush = load_brush("hard_round").with_settings(stroke={"type": "line", "step": 0.2})
    line = stroke(0.1, 0.5, 0.9, 0.5, thickness=0.5)
    line[0, [START_PRESSURE, END_PRESSURE]] = 0.0, 1.0
    width = painted(brush, line).sum(0)
    middle = np.arange(10, 30)
    np.testing.assert_allclose(width[middle], 12 * (middle + 0.5 - 4) / 32, atol=1.0)
    # Where paint builds up, as much of it lies on the thin end as on the thick one.
    flow = load_brush("hard_square").with_settings(stroke={"type": "line", "step": 0.05}, texture={"opacity": 0.02})
    line[0, START_PRESSURE] = 0.2
    darkness = painted(flow, line, (480, 800))[240, 240:600:60]
    assert 0.2 < darkness.mean() < 0.9
    np.testing.assert_allclose(darkness, darkness.mean(), rtol=0.1)


def test_no_opacity_and_no_pressure_leave_no_paint() -> None:
    for name in ("hard_round", "splatter"):
        lifted, weightless = stroke(*CURVE, opacity=0.0), stroke(*CURVE)
        weightless[0, [START_PRESSURE, END_PRESSURE]] = 0.0
        assert painted(load_brush(name), lifted).sum() == 0
        assert painted(load_brush(name), weightless).sum() == 0


def test_texture_of_a_side_that_is_no_power_of_two() -> None:
    brush = load_brush("splatter")
    assert_equals_reference(Brush(brush.spec, np.pad(brush.texture[20:107, 20:107], 1)), 3, 1)


def test_same_seed_same_picture_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paint, "CORES", 3)
    brush = load_brush("splatter")
    strokes, prepared = awkward_strokes(brush), PreparedBrushes(brush)
    pictures = []
    for threads in (1, 3):
        canvas = np.full((9, 3, HEIGHT, WIDTH), 255, np.uint8)
        render_strokes(canvas, strokes, np.arange(9), 2, prepared, threads=threads)
        pictures.append(canvas)
    np.testing.assert_array_equal(*pictures)


def test_jitter_follows_seed_and_index_and_not_the_batch() -> None:
    brush = PreparedBrushes(load_brush("splatter"))

    def paint(seeds: list[int], index: int) -> np.ndarray:
        canvas = np.full((len(seeds), 3, HEIGHT, WIDTH), 255, np.uint8)
        strokes = np.repeat(stroke(0.2, 0.3, 0.9, 0.1, 0.6, 0.8, color=0.4, thickness=0.4), len(seeds), 0)
        render_strokes(canvas, strokes, np.array(seeds), index, brush)
        return canvas

    together = paint([11, 12, 13], index=1)
    np.testing.assert_array_equal(together[[2, 0]], paint([13, 11], index=1))
    assert (together[0] != together[1]).mean() > 0.05
    assert (together[0] != paint([11], index=2)[0]).mean() > 0.05


def test_dab_covers_known_pixels_with_known_color() -> None:
    canvas = np.full((1, 3, 16, 24), 205, np.uint8)
    # A diameter of 8 pixels around the pixel corner (9, 7): x from 9 to 12, y from 4 to 10.
    dab = stroke(9 / 24, 7 / 16, color=(0.2, 0.6, 1.0), thickness=0.5, opacity=0.5)
    render_strokes(canvas, dab, np.array([0]), 0, PreparedBrushes(corner_brush("point")))
    expected = np.full((3, 16, 24), 205, np.uint8)
    expected[:, 4:10, 9:12] = np.array([128, 179, 230])[:, None, None]
    np.testing.assert_array_equal(canvas[0], expected)


def test_dab_turns_clockwise_with_the_stroke() -> None:
    # Downwards, the texture's right half comes to lie below, its upper edge to the right.
    line = stroke(9 / 24, 7 / 16, 9 / 24, 7.001 / 16, thickness=0.5)
    expected = np.zeros((16, 24))
    expected[7:10, 6:12] = 1
    np.testing.assert_allclose(painted(corner_brush("line", follow=True), line, (16, 24)), expected, atol=0.01)


@pytest.mark.parametrize(("pixels", "x", "y"), [(20, 20.0, 12.0), (11, 13.3, 9.6), (4, 20.7, 11.2)])
def test_ink_of_a_disc_is_its_area(pixels: float, x: float, y: float) -> None:
    ink = painted(load_brush("point"), stroke(x / WIDTH, y / HEIGHT, thickness=pixels / HEIGHT))
    radius = 31 / 64 * pixels  # the texture's disc leaves the outermost ring free
    assert ink.sum() == pytest.approx(np.pi * radius**2, rel=0.02)
    rows, columns = np.indices(ink.shape) + 0.5
    assert (ink * columns).sum() / ink.sum() == pytest.approx(x, abs=0.05)
    assert (ink * rows).sum() / ink.sum() == pytest.approx(y, abs=0.05)


def test_profile_of_a_horizontal_line() -> None:
    # 6 pixels high around y = 7.5: the rows from 4.5 to 10.5.
    ink = painted(corner_brush("line"), stroke(4 / 24, 7.5 / 16, 20 / 24, 7.5 / 16, thickness=0.5), (16, 24))
    expected = np.zeros(16)
    expected[4:11] = [0.5, 1, 1, 1, 1, 1, 0.5]
    np.testing.assert_allclose(ink[:, 12], expected, atol=1 / 255)


def test_a_line_thinner_than_a_pixel_keeps_its_ink() -> None:
    ink = painted(load_brush("line"), stroke(0.2, 0.3, 0.8, 0.3, thickness=0.3 / HEIGHT))
    assert ink[:, WIDTH // 2].sum() == pytest.approx(0.3, rel=0.3)


def test_ink_of_a_triangle_is_its_area() -> None:
    brush = load_brush("triangle")
    ink = painted(brush, stroke(4.2 / WIDTH, 3 / HEIGHT, 30 / WIDTH, 5 / HEIGHT, 10 / WIDTH, 20 / HEIGHT))
    assert ink.sum() == pytest.approx((25.8 * 17 - 5.8 * 2) / 2, rel=0.01)
    assert ink[6, 12] == 1
    assert ink[17, 28] == 0


def test_a_triangle_without_area_paints_nothing() -> None:
    brush = load_brush("triangle")
    assert painted(brush, stroke(0.5, 0.4)).sum() == 0
    assert painted(brush, stroke(0.1, 0.2, 0.5, 0.4, 0.9, 0.6)).sum() < 0.01


CURVE = (0.1, 0.25, 0.75, 0.05, 0.6, 0.9)


@pytest.mark.parametrize("name", ["hard_round", "soft_round", "ink"])
def test_mirrored_stroke_mirrors_the_picture(name: str) -> None:
    x0, y0, x1, y1, x2, y2 = CURVE
    ink = painted(load_brush(name), stroke(*CURVE, thickness=0.3))
    mirrored = painted(load_brush(name), stroke(1 - x0, y0, 1 - x1, y1, 1 - x2, y2, thickness=0.3))
    assert np.abs(ink - ink[:, ::-1]).max() > 0.5
    np.testing.assert_allclose(mirrored, ink[:, ::-1], atol=1.01 / 255)


@pytest.mark.parametrize("name", ["hard_round", "soft_round", "ink"])
def test_swapping_x_and_y_transposes_the_picture(name: str) -> None:
    x0, y0, x1, y1, x2, y2 = CURVE
    ink = painted(load_brush(name), stroke(*CURVE, thickness=0.3))
    swapped = painted(load_brush(name), stroke(y0, x0, y1, x1, y2, x2, thickness=0.3), (WIDTH, HEIGHT))
    np.testing.assert_allclose(swapped, ink.T, atol=1.01 / 255)


def replay_error(name: str, scale: int) -> tuple[float, float]:
    """Mean difference of a picture of four strokes from the same painted 4 × larger and averaged down; its ink."""
    brush, rng = load_brush(name), np.random.default_rng(3)
    control = brush.spec.control
    strokes = rng.uniform(0, 1, (4, 11)).astype(np.float32)
    strokes[:, 6:9] = 0
    strokes[:, 9] = rng.uniform(control.min_thickness, control.max_thickness, 4)
    strokes[:, 10] = rng.uniform(control.min_opacity, control.max_opacity, 4)
    strokes = fully_pressed(strokes)
    small, large = painted(brush, strokes, (48, 64), scale), painted(brush, strokes, (192, 256))
    averaged = large.reshape(48, 4, 64, 4).mean((1, 3))
    return np.abs(small - averaged).mean(), averaged.mean()


@pytest.mark.parametrize("name", library())
def test_replay_at_four_times_the_size_averages_to_the_picture_drawn_at_render_scale_4(name: str) -> None:
    error, ink = replay_error(name, scale=4)
    assert ink > 0.01
    assert error <= 0.5 / 255


SMOOTH = ("hard_round", "hard_square", "ink", "line", "marker", "pencil", "point", "soft_round", "triangle")


@pytest.mark.parametrize("name", library())
def test_replay_at_four_times_the_size_averages_to_the_small_picture(name: str) -> None:
    # Grain finer than a pixel is lost at render scale 1: the union of blurred dabs holds less than the dabs' union.
    error, ink = replay_error(name, scale=1)
    assert error <= 2 / 255 if name in SMOOTH else error <= 0.25 * ink


def test_magnified_texture_is_not_cut_off() -> None:
    # 256 pixels from a texture of 64: its soft edge reaches two pixels beyond the outermost texel that holds paint.
    brush, dab = load_brush("point"), stroke(0.5, 0.5, thickness=1.0)
    canvas = np.full((1, 1, 256, 300), 255, np.uint8)
    slow = canvas.copy()
    render_strokes(canvas, dab, np.array([0]), 0, PreparedBrushes(brush))
    render_strokes_slow(slow, dab, np.array([0]), 0, PreparedBrushes(brush))
    assert np.abs(canvas.astype(int) - slow).max() <= 1
