"""Bins ↔ strokes, brush by brush."""

from __future__ import annotations

import colorsys
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from garl.brush.geometry import BRUSH
from garl.brush.spec import load_brush
from garl.engine.paint import (
    PaintConfig,
    PaintEngine,
    StrokeCodec,
    blank,
    choose_paint_device,
    hsv_to_rgb,
    load_brushes,
)
from garl.errors import GarlError
from garl.types import Location


def codec(brush: str, **settings: Any) -> StrokeCodec:
    config = PaintConfig(brush=brush, **settings)
    return StrokeCodec(config, load_brushes(config))


def decoded(codec: StrokeCodec, *action: int, pen: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    return codec.decode(torch.tensor([action]), torch.tensor([pen]))[0].numpy()


@pytest.mark.parametrize(
    ("brush", "settings", "names"),
    [
        ("splatter", {}, "start control end red green blue thickness opacity"),
        ("splatter", {"contiguous": True, "hsv": True}, "control end hue saturation value thickness opacity"),
        ("line", {"color_channels": 1, "opacity": False}, "start end grey thickness"),
        ("line", {"color_channels": 0, "contiguous": True}, "end thickness opacity"),
        ("triangle", {}, "first second third red green blue opacity"),
        ("triangle", {"color_channels": 0, "contiguous": True}, "second third opacity"),
        (
            "splatter",
            {"pen": True, "brushes": ("oil",), "pressure": True, "color_channels": 1},
            "start control end pen brush grey thickness opacity start_pressure end_pressure",
        ),
        ("point", {"thickness": False, "color_channels": 1, "channels": 1}, "place grey opacity"),
    ],
)
def test_action_spec_by_brush_type(brush: str, settings: dict[str, Any], names: str) -> None:
    spec = codec(brush, grid=5, bins=7, **settings).action_spec
    assert [dimension.name for dimension in spec] == names.split()
    sizes = {"pen": 2, "brush": 2}
    assert [d.n for d in spec] == [25 if isinstance(d, Location) else sizes.get(d.name, 7) for d in spec]


def test_bins_decode_in_the_order_of_the_dimensions() -> None:
    # On a grid of 4, index 6 is row 1, column 2: x = 2.5/4, y = 1.5/4.
    stroke = decoded(codec("splatter", grid=4, bins=5), 6, 3, 8, 1, 2, 3, 0, 4)
    places = [2.5 / 4, 1.5 / 4, 3.5 / 4, 0.5 / 4, 0.5 / 4, 2.5 / 4]
    np.testing.assert_allclose(stroke, [*places, 0.25, 0.5, 0.75, 0.02, 1.0, 1, 1, 0], rtol=1e-6)


def test_pen_brush_and_pressure_decode() -> None:
    several = codec("splatter", brushes=("marker", "oil"), pen=True, pressure=True, color_channels=0, grid=4, bins=5)
    down = decoded(several, 6, 3, 8, 1, 1, 2, 4, 1, 3)
    up = decoded(several, 6, 3, 8, 0, 2, 2, 4, 0, 4)
    first, second = (load_brush(name).spec.control for name in ("marker", "oil"))
    middle = [(control.min_thickness + control.max_thickness) / 2 for control in (first, second)]
    np.testing.assert_allclose(down[9:], [middle[0], first.max_opacity, 0.25, 0.75, 1], rtol=1e-6)
    np.testing.assert_allclose(up[9:], [middle[1], 0, 0, 1, 2], rtol=1e-6)


def test_what_actions_do_not_choose_is_the_largest_of_the_chosen_brush() -> None:
    both = codec("splatter", brushes=("marker",), color_channels=0, thickness=False, opacity=False)
    controls = [load_brush(name).spec.control for name in ("splatter", "marker")]
    for number, control in enumerate(controls):
        stroke = decoded(both, 0, 5, 7, number)
        np.testing.assert_allclose(stroke[9:], [control.max_thickness, control.max_opacity, 1, 1, number], rtol=1e-6)


def test_a_lifted_pen_paints_nothing_and_goes_on_where_it_came_down() -> None:
    config = PaintConfig(
        height=20, width=28, brush="line", background=(0,), contiguous=True, pen=True, color_channels=0, grid=4
    )
    engine = PaintEngine(config)
    blank = engine.reset(2, np.random.default_rng(0))
    lifted = engine.apply(blank, torch.tensor([[6, 0, 15, 15], [6, 1, 15, 15]]))
    assert torch.equal(lifted[0], blank[0])
    assert not torch.equal(lifted[1], blank[1])
    drawn = engine.apply(lifted, torch.tensor([[9, 1, 15, 15], [9, 1, 15, 15]]))
    assert not torch.equal(drawn[0], lifted[0])
    np.testing.assert_allclose(engine.painted[:, 1, :2], [[2.5 / 4, 1.5 / 4]] * 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"brush": "line", "brushes": ("oil",)}, "'line' is of type line and 'oil' of type bezier: choose others"),
        ({"brush": "point", "pressure": True}, "'point' paints points, along which no pressure can change"),
        ({"brush": "triangle", "pressure": True}, "'triangle' paints triangles, .* drop pressure"),
        ({"brush": "line", "brushes": ("lime",)}, "no brush 'lime' .did you mean line.."),
    ],
)
def test_brushes_that_do_not_suit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GarlError, match=message):
        PaintEngine(PaintConfig(**settings))


def test_points_that_a_type_does_not_read_repeat_the_last() -> None:
    line = decoded(codec("line", grid=4, color_channels=0), 6, 3, 0, 0)
    np.testing.assert_allclose(line[:6], [2.5 / 4, 1.5 / 4, 3.5 / 4, 0.5 / 4, 3.5 / 4, 0.5 / 4])
    point = decoded(codec("point", grid=4, color_channels=0), 6, 0, 0)
    np.testing.assert_allclose(point[:6], [2.5 / 4, 1.5 / 4] * 3)


def test_thickness_and_opacity_reach_both_ends_of_the_brushs_range() -> None:
    control, bins = load_brush("marker").spec.control, 6
    strokes = [decoded(codec("marker", color_channels=0, bins=bins), 0, 0, 0, i, bins - 1 - i) for i in range(bins)]
    thickness, opacity = np.array(strokes)[:, 9:11].T
    np.testing.assert_allclose(thickness, np.linspace(control.min_thickness, control.max_thickness, bins), rtol=1e-6)
    np.testing.assert_allclose(opacity, np.linspace(control.max_opacity, control.min_opacity, bins), rtol=1e-6)


def test_properties_that_actions_do_not_choose_take_the_brushs_largest() -> None:
    stroke = decoded(codec("marker", color_channels=0, thickness=False, opacity=False), 1, 2, 3)
    np.testing.assert_allclose(stroke[9:], [0.2, 0.9, 1, 1, 0], rtol=1e-6)


def test_colors() -> None:
    settings: dict[str, Any] = {"thickness": False, "opacity": False, "bins": 5}
    white = decoded(codec("point", color_channels=0, **settings), 0)
    grey = decoded(codec("point", color_channels=1, **settings), 0, 1)
    rgb = decoded(codec("point", color_channels=3, **settings), 0, 0, 3, 4)
    hsv = decoded(codec("point", color_channels=3, hsv=True, **settings), 0, 1, 2, 3)
    np.testing.assert_allclose(white[6:9], [1, 1, 1])
    np.testing.assert_allclose(grey[6:9], [0.25, 0.25, 0.25])
    np.testing.assert_allclose(rgb[6:9], [0, 0.75, 1])
    np.testing.assert_allclose(hsv[6:9], colorsys.hsv_to_rgb(0.25, 0.5, 0.75), rtol=1e-6)


def test_hsv_agrees_with_colorsys() -> None:
    colors = torch.tensor(list(itertools.product(np.linspace(0, 1, 13), (0, 0.3, 1), (0, 0.6, 1))), dtype=torch.float64)
    np.testing.assert_allclose(
        hsv_to_rgb(colors), [colorsys.hsv_to_rgb(*color) for color in colors.tolist()], atol=1e-12
    )


@pytest.mark.parametrize(("compiles", "expected"), [(True, "cuda"), (False, "cpu")])
def test_strokes_are_drawn_on_a_gpu_only_if_its_kernels_compile(
    compiles: bool, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("numba.cuda.is_available", lambda: compiles)
    assert choose_paint_device(torch.device("cuda")).type == expected
    assert ("pip install 'garl[cuda]'" in capsys.readouterr().err) != compiles
    assert choose_paint_device(torch.device("cpu")).type == "cpu"


@pytest.mark.parametrize(("brush", "locations"), [("line", 1), ("splatter", 2), ("triangle", 2)])
def test_contiguous_strokes_start_where_the_last_one_ended(brush: str, locations: int) -> None:
    config = PaintConfig(height=10, width=14, brush=brush, contiguous=True, color_channels=0, grid=4)
    engine = PaintEngine(config)
    canvas = engine.reset(2, np.random.default_rng(0))
    scalars = [0] * (len(engine.action_spec) - locations)
    canvas = engine.apply(canvas, torch.tensor([[5] * (locations - 1) + [6, *scalars], [1] * locations + scalars]))
    engine.apply(canvas, torch.tensor([[9] * locations + scalars, [2] * locations + scalars]))
    starts, end = engine.painted[:, :, :2], slice(2 * locations, 2 * locations + 2)
    np.testing.assert_allclose(starts[:, 0], 0.5)
    np.testing.assert_allclose(starts[:, 1], [[2.5 / 4, 1.5 / 4], [1.5 / 4, 0.5 / 4]])
    np.testing.assert_allclose(starts[:, 1], engine.painted[:, 0, end])


def test_reset_puts_the_pen_back_and_forgets_the_strokes() -> None:
    engine = PaintEngine(PaintConfig(height=10, width=14, brush="line", contiguous=True, color_channels=0))
    for _ in range(2):
        canvas = engine.reset(3, np.random.default_rng(0))
        assert engine.painted.shape == (3, 0, 14)
        engine.apply(canvas, torch.full((3, 3), 7))
        np.testing.assert_allclose(engine.painted[:, 0, :2], 0.5)
        assert engine.painted.shape == (3, 1, 14)


def test_apply_leaves_its_argument_alone() -> None:
    engine = PaintEngine(
        PaintConfig(height=10, width=14, channels=1, color_channels=0, background=(20,), brush="point")
    )
    before = engine.reset(2, np.random.default_rng(0))
    after = engine.apply(before, torch.tensor([[33, 15, 15], [700, 15, 15]]))
    assert (before == 20).all()
    assert (after.flatten(1).amax(1) == 255).all()


def test_background() -> None:
    np.testing.assert_array_equal(
        blank(PaintConfig(height=2, width=3, background=(10, 20, 30)), 2),
        np.broadcast_to(np.array([10, 20, 30])[None, :, None, None], (2, 3, 2, 3)),
    )
    assert (blank(PaintConfig(height=2, width=3, channels=1, color_channels=1, background=(7,)), 1) == 7).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"background": (1, 2)}, "background takes 1 or 3 values from 0 to 255"),
        ({"background": (256,)}, "background takes 1 or 3 values from 0 to 255"),
        ({"hsv": True, "color_channels": 1}, "hsv needs color_channels 3, not 1"),
        ({"channels": 1}, "color_channels 3 needs channels 3"),
        ({"channels": 2}, "channels"),
        ({"height": 0}, "height"),
        ({"bins": 1}, "bins"),
        ({"colour": 3}, "colour"),
    ],
)
def test_config_errors_name_the_field(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GarlError, match=message):
        PaintConfig(**settings)


def test_points_cannot_be_contiguous() -> None:
    with pytest.raises(GarlError, match="brush 'point' paints points, which have no end to go on from"):
        codec("point", contiguous=True)


@settings(deadline=None)  # a busy machine is not an error
@given(data=st.data())
def test_every_action_decodes_into_the_ranges(data: st.DataObject) -> None:
    brush = data.draw(st.sampled_from(["splatter", "line", "triangle", "point"]))
    others = {"splatter": ("marker", "ink"), "line": ("line",)}.get(brush, ())
    config = PaintConfig(
        brush=brush,
        brushes=others if data.draw(st.booleans()) else (),
        pressure=brush in ("splatter", "line") and data.draw(st.booleans()),
        pen=data.draw(st.booleans()),
        hsv=data.draw(st.booleans()),
        contiguous=brush != "point" and data.draw(st.booleans()),
        grid=data.draw(st.integers(2, 128)),
        bins=data.draw(st.integers(2, 1024)),
    )
    codec = StrokeCodec(config, load_brushes(config))
    action = [data.draw(st.integers(0, dimension.n - 1)) for dimension in codec.action_spec]
    stroke = decoded(codec, *action, pen=(0.125, 0.75))
    assert ((stroke[:BRUSH] >= 0) & (stroke[:BRUSH] <= 1)).all()
    chosen = dict(zip((d.name for d in codec.action_spec), action, strict=True))
    assert stroke[BRUSH] == chosen.get("brush", 0)
    control = load_brush((brush, *config.brushes)[int(stroke[BRUSH])]).spec.control
    lifted = chosen.get("pen") == 0
    assert control.min_thickness - 1e-6 <= stroke[9] <= control.max_thickness + 1e-6
    assert stroke[10] == 0 if lifted else control.min_opacity - 1e-6 <= stroke[10] <= control.max_opacity + 1e-6
    for name, column in (("start_pressure", 11), ("end_pressure", 12)):
        expected = chosen[name] / (config.bins - 1) if config.pressure else 1
        assert stroke[column] == pytest.approx(expected)
    np.testing.assert_array_equal(
        codec.pen(torch.from_numpy(stroke)[None])[0], stroke[2 * codec.points - 2 : 2 * codec.points]
    )
    if config.contiguous:
        assert tuple(stroke[:2]) == (0.125, 0.75)
