"""Orders of strokes, and strokes of one type for a brush of another."""

from __future__ import annotations

import numpy as np
import pytest

from garl.brush.geometry import COLOR, POINTS, START_PRESSURE, THICKNESS, fully_pressed
from garl.errors import GarlError
from garl.strokes import ORDERS, areas, fitted


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
