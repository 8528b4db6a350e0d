"""Orders of strokes, strokes of one type for a brush of another, and strokes laid elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from garl.brush.geometry import COLOR, POINTS, START_PRESSURE, THICKNESS, fully_pressed
from garl.errors import GarlError
from garl.strokes import ORDERS, areas, fitted, placed, rightwards


def strokes(count: int, **columns: list) -> np.ndarray:
    rows = fully_pressed(np.full((count, 11), 0.5, np.float32))
    for name, values in columns.items():
        rows[:, {"points": POINTS, "color": COLOR, "thickness": THICKNESS, "start": START_PRESSURE}[name]] = values
    return rows


def test_coarse_to_fine() -> None:
    rows = strokes(4, thickness=[0.1, 0.3, 0.1, 0.2])
    assert ORDERS["coarse-to-fine"](rows, "bezier").tolist() == [1, 3, 0, 2]
    rows[1, START_PRESSURE:] = 0.1, 0.2, 0  # 0.06 at its widest
    assert ORDERS["coarse-to-fine"](rows, "line").tolist() == [3, 0, 2, 1]


def test_triangles_go_by_area() -> None:
    rows = strokes(2, points=[[0, 0, 0.1, 0, 0, 0.1], [0.9, 0.9, 0.2, 0.9, 0.9, 0.1]], thickness=[0.9, 0.1])
    assert ORDERS["coarse-to-fine"](rows, "triangle").tolist() == [1, 0]


def test_by_colour_lightest_first_else_as_painted() -> None:
    dark, light, red = [0, 0, 0.1], [0.9, 1, 0.9], [0.9, 0, 0]
    assert ORDERS["colour"](strokes(5, color=[dark, red, light, dark, red]), "bezier").tolist() == [2, 1, 4, 0, 3]


def test_by_region_in_rows_to_and_fro() -> None:
    places = [[0.9, 0.3], [0.1, 0.3], [0.9, 0.1], [0.1, 0.1], [1, 1]]  # (x, y), in tiles of a quarter
    rows = strokes(5, points=[place * 3 for place in places])
    assert ORDERS["region"](rows, "bezier").tolist() == [3, 2, 0, 1, 4]
    rows[:, 2:6] = 0.5  # a point brush does not read them
    assert ORDERS["region"](rows, "point").tolist() == [3, 2, 0, 1, 4]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_has_every_stroke_once(order: str) -> None:
    rows = np.random.default_rng(0).uniform(0, 1, (60, 14)).astype(np.float32)
    assert sorted(ORDERS[order](rows, "triangle")) == list(range(60))


def test_what_is_longer_wider_and_stronger_paints_more() -> None:
    rows = strokes(2, points=[[0, 0, 0.3, 0, 0.3, 0.4], [0.5] * 6], thickness=[0.1, 0.2])
    rows[1, 10] = 0.25
    assert areas(rows) == pytest.approx([0.8 * 0.1 * 0.5, 0.2 * 0.2 * 0.25])


def test_strokes_for_another_brush() -> None:
    rows = strokes(1, points=[[0.1, 0.2, 0.3, 0.9, 0.7, 0.4]])
    assert np.array_equal(fitted(rows, "bezier", "bezier"), rows)
    assert fitted(rows, "bezier", "line")[0, POINTS] == pytest.approx([0.1, 0.2, 0.7, 0.4, 0.7, 0.4])
    assert fitted(rows, "line", "bezier")[0, POINTS] == pytest.approx([0.1, 0.2, 0.2, 0.55, 0.3, 0.9])
    assert fitted(rows, "bezier", "point")[0, :2] == pytest.approx([1.1 / 3, 0.5])
    assert fitted(rows, "point", "line")[0, POINTS] == pytest.approx([0.1, 0.2] * 3)
    assert rows[0, POINTS] == pytest.approx([0.1, 0.2, 0.3, 0.9, 0.7, 0.4])
    with pytest.raises(GarlError, match="the strokes are lines"):
        fitted(rows, "line", "triangle")


@pytest.mark.parametrize(
    ("kind", "points", "backwards"),
    [
        ("bezier", [0.9, 0.0, 0.5, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.2, 0.9, 0.0]),
        ("line", [0.9, 0.0, 0.3, 0.4, 0.3, 0.4], [0.3, 0.4, 0.9, 0.0, 0.9, 0.0]),
    ],
)
def test_strokes_from_left_to_right(kind: str, points: list[float], backwards: list[float]) -> None:
    rows = strokes(2, points=[points, backwards], start=[0.25, 0.75])
    turned = rightwards(rows, kind)
    assert turned[0] == pytest.approx(strokes(1, points=[backwards], start=[1.0])[0] + (np.arange(14) == 12) * -0.75)
    assert np.array_equal(turned[1], rows[1])
    assert np.array_equal(rightwards(turned, kind), turned)
    assert rows[0, POINTS] == pytest.approx(points)


def test_strokes_lie_in_their_tile_as_they_lay_on_the_small_canvas() -> None:
    rng = np.random.default_rng(2)
    given = rng.random((3, 14), np.float32)
    seen = (16, 24)
    moved = placed(given, (30, 10, 78, 42), (60, 100), seen)  # 48 × 32: twice the agent's 24 × 16
    np.testing.assert_allclose(moved[:, [0, 2, 4]] * 100, 30 + given[:, [0, 2, 4]] * 48, rtol=1e-5)
    np.testing.assert_allclose(moved[:, [1, 3, 5]] * 60, 10 + given[:, [1, 3, 5]] * 32, rtol=1e-5)
    np.testing.assert_allclose(moved[:, 9] * 60, given[:, 9] * 32, rtol=1e-5)
    assert np.array_equal(moved[:, 6:9], given[:, 6:9])
    assert np.array_equal(moved[:, 10:], given[:, 10:])
    assert np.array_equal(placed(given, (0, 0, 100, 60), (60, 100), (60, 100)), given)
    wide = placed(given, (0, 0, 96, 16), (16, 96), seen)  # four times as wide
    np.testing.assert_allclose(wide[:, 9], np.minimum(1, 2 * given[:, 9]), rtol=1e-6)
