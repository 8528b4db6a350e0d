"""Plots are read back by small parsers and held against the strokes: where the pen goes, and what it covers."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from garl.brush.geometry import COLOR, END_PRESSURE, OPACITY, POINTS, START_PRESSURE, THICKNESS, fully_pressed
from garl.errors import GarlError
from garl.export.plotter import PlotConfig, save_plot
from garl.export.strokefile import StrokeFile

Paths = dict[str, list[np.ndarray]]
BLACK = (0, 0, 0)


def painting(kind: str, *strokes: tuple, start: float = 1, end: float = 1) -> StrokeFile:
    """Strokes of (points, colour, thickness, opacity) on white paper, 200 wide and 100 high."""
    rows = np.zeros((len(strokes), 11), np.float32)
    for row, (points, color, thickness, opacity) in zip(rows, strokes, strict=True):
        row[POINTS] = (points + points[-2:] * 2)[:6]
        row[COLOR], row[THICKNESS], row[OPACITY] = color, thickness, opacity
    brush = {"stroke": {"type": kind}, "dab": {"start_scale": start, "end_scale": end}}
    return StrokeFile(100, 200, 3, (255, 255, 255), (brush,), 1, fully_pressed(rows)[None], np.array([0]))


def read_gcode(text: str) -> Paths:
    """The paths of each pen, by its comment; refuses what is no G-code, and drawing that nobody asked for."""
    pens: Paths = {}
    place, height, pen = (0.0, 0.0), None, ""
    for line in text.splitlines():
        code, _, comment = line.partition(";")
        if re.fullmatch(r"M0 ", code):
            assert height > 0
            pen = re.fullmatch(r" insert pen \d+ of \d+: (#[0-9a-f]{6}), \d+ paths", comment)[1]
            pens[pen] = []
        elif move := re.fullmatch(r"(G0|G1) X(-?[\d.]+) Y(-?[\d.]+)", code):
            place = float(move[2]), float(move[3])
            assert (move[1] == "G1") == (height == 0), "drawing with the pen lifted, or going with it lowered"
            if height == 0:
                pens[pen][-1].append(place)
        elif lift := re.fullmatch(r"G0 Z([\d.]+)|G1 Z(0) F[\d.]+", code):
            height = float(lift[1] or lift[2])
            if height == 0:
                pens[pen].append([place])
        else:
            assert code.strip() in ("", "G21", "G90", "G94", "G0 X0 Y0", "M2")
    assert text.endswith("G0 X0 Y0\nM2\n")
    return {pen: [np.array(path) for path in paths] for pen, paths in pens.items()}


def read_hpgl(text: str) -> Paths:
    """The same of HPGL; pens are called by their number."""
    pens: Paths = {}
    place, pen = (0, 0), "0"
    assert re.fullmatch(r"(([A-Z]{2})(-?\d+(,-?\d+)*)?;\n?)+", text)
    commands = [command.strip() for command in text.split(";")[:-1]]
    assert commands[0] == "IN"
    assert commands[-2:] == ["PU", "SP0"]
    for command in commands[1:-2]:
        name, numbers = command[:2], [int(number) for number in command[2:].split(",") if number]
        if name == "SP":
            pen = str(numbers[0])
            pens[pen] = []
            continue
        assert name in ("PU", "PD")
        if name == "PD" and not numbers:
            pens[pen].append([place])
        for place in zip(numbers[::2], numbers[1::2], strict=True):
            if name == "PD":
                pens[pen][-1].append(place)
    return {pen: [np.array(path) / 40 for path in paths] for pen, paths in pens.items()}


def plot(tmp_path: Path, file: StrokeFile, **settings: object) -> tuple[Paths, Paths, list[str]]:
    config = PlotConfig(**{"page": "240x140", "margin": 20, **settings})  # so that a pixel is a millimetre
    report = save_plot(tmp_path / "a.gcode", file, config=config)
    assert save_plot(tmp_path / "a.hpgl", file, config=config) == report
    gcode, hpgl = read_gcode((tmp_path / "a.gcode").read_text()), read_hpgl((tmp_path / "a.hpgl").read_text())
    for one, other in zip(gcode.values(), hpgl.values(), strict=True):
        assert all(a == pytest.approx(b, abs=0.0131) for a, b in zip(one, other, strict=True))
    for path in (path for paths in gcode.values() for path in paths):
        assert ((path >= 20) & (path <= (220, 120))).all()
    return gcode, hpgl, report


def dense(path: np.ndarray) -> np.ndarray:
    """Points along a path, at most 0.05 apart."""
    parts = [np.linspace(a, b, 1 + int(np.linalg.norm(b - a) / 0.05) + 1) for a, b in pairwise(path)]
    return np.concatenate([path, *parts])


def curve(points: tuple[float, ...]) -> np.ndarray:
    """A Bézier curve on the page."""
    a, b, c = (np.array([20 + 200 * x, 120 - 100 * y]) for x, y in zip(points[::2], points[1::2], strict=True))
    t = np.linspace(0, 1, 4001)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


BEND = (0.1, 0.2, 0.55, 0.95, 0.8, 0.3)


def test_a_line_a_point_and_a_triangle_lie_where_they_were_painted(tmp_path: Path) -> None:
    gcode, _, _ = plot(tmp_path, painting("line", ((0.1, 0.2, 0.7, 0.9), BLACK, 0.1, 1)))
    assert gcode["#000000"][0] == pytest.approx(np.array([[40, 100], [160, 30]]), abs=1e-3)
    gcode, _, _ = plot(tmp_path, painting("point", ((0.1, 0.2), BLACK, 0.1, 1)))
    assert gcode["#000000"][0] == pytest.approx(np.array([[40, 100]]), abs=1e-3)
    gcode, _, _ = plot(tmp_path, painting("triangle", ((0, 0, 0.5, 0, 1, 1), BLACK, 0.1, 1)))
    (path,) = gcode["#000000"]
    assert path == pytest.approx(np.array([[20, 120], [120, 120], [220, 20], [20, 120]]), abs=1e-3)


@pytest.mark.parametrize("tolerance", [0.02, 0.5])
def test_a_curve_is_as_near_as_asked(tmp_path: Path, tolerance: float) -> None:
    gcode, _, _ = plot(tmp_path, painting("bezier", (BEND, BLACK, 0.1, 1)), tolerance=tolerance)
    path, wanted = gcode["#000000"][0], curve(BEND)
    off = cKDTree(dense(path)).query(wanted)[0].max()
    assert 0.3 * tolerance < off < tolerance + 0.03  # no better than asked: that would be needless points
    assert cKDTree(wanted).query(path)[0].max() < 0.05


@pytest.mark.parametrize("pressure", [(1, 1), (1, 0.2)])
@pytest.mark.parametrize("points", [BEND, (0.2, 0.5, 0.8, 0.5, 0.3, 0.5), (0.5, 0.4, 0.5, 0.4, 0.5, 0.4)])
def test_a_thick_stroke_is_covered_and_no_more(
    tmp_path: Path, points: tuple[float, ...], pressure: tuple[float, float]
) -> None:
    file = painting("bezier", (points, BLACK, 0.24, 1))  # 24 mm thick; a bend, one that turns back, and a dot
    file.strokes[0, 0, [START_PRESSURE, END_PRESSURE]] = pressure
    gcode, _, _ = plot(tmp_path, file, pen_width=1.5)
    (path,) = gcode["#000000"]  # in one go
    middle = curve(points)
    way = np.concatenate([[0], np.linalg.norm(np.diff(middle, axis=0), axis=1).cumsum()])
    radius = 12 * np.interp(way / max(way[-1], 1e-9), (0, 1), pressure)
    rng = np.random.default_rng(0)
    at, angle = rng.integers(0, len(middle), 20_000), rng.uniform(0, 2 * np.pi, 20_000)
    share = np.sqrt(rng.uniform(0, 1, 20_000))
    inside = middle[at] + (share * radius[at])[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert cKDTree(dense(path)).query(inside)[0].max() < 0.75 + 0.13  # half a pen
    ink = dense(path)[::20]
    far = np.linalg.norm(ink[:, None] - middle[None, ::10], axis=2) - radius[None, ::10]
    assert far.min(1).max() < -0.75 + 0.13


def test_a_triangle_is_filled(tmp_path: Path) -> None:
    gcode, _, _ = plot(tmp_path, painting("triangle", ((0, 0, 0.5, 0, 1, 1), BLACK, 0.1, 1)), pen_width=2)
    (path,) = gcode["#000000"]
    corners = np.array([[20, 120], [120, 120], [220, 20]])
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), 5000)
    off = cKDTree(dense(path)).query(weights @ corners)[0]
    assert np.mean(off < 1.01) > 0.98  # but for the tips, which a round pen does not reach
    sides = np.roll(corners, -1, 0) - corners
    normal = np.stack([sides[:, 1], -sides[:, 0]], 1) / np.linalg.norm(sides, axis=1)[:, None]
    assert ((path[:, None] - corners) * normal).sum(2).min() == pytest.approx(1, abs=0.01)  # half a pen from the sides


def test_a_stroke_over_the_edge_is_cut_at_the_paintings(tmp_path: Path) -> None:
    file = painting("line", ((0.3, 0, 0.6, 0), BLACK, 0.4, 1), ((0.0, 0.5, 0.0, 0.9), BLACK, 0.3, 1))
    gcode, _, _ = plot(tmp_path, file, pen_width=2)  # `plot` sees that nothing lies outside
    ink = np.concatenate([dense(path) for path in gcode["#000000"]])
    inside = np.random.default_rng(0).uniform((80, 101), (140, 120), (2000, 2))
    assert cKDTree(ink).query(inside)[0].max() < 1.1


def test_a_pen_for_each_colour_and_none_for_the_paper(tmp_path: Path) -> None:
    line = (0.1, 0.1, 0.3, 0.3)
    file = painting(
        "line",
        (line, BLACK, 0.1, 1), (line, (1, 1, 1), 0.1, 1), (line, (1, 0, 0), 0.1, 0), (line, (1, 0.6, 0), 0.1, 1),
        (line, BLACK, 0.1, 0.01), (line, BLACK, 0.1, 0.9),
    )  # fmt: skip
    gcode, hpgl, report = plot(tmp_path, file)
    assert {pen: len(paths) for pen, paths in gcode.items()} == {"#ff9900": 1, "#000000": 2}  # the lightest first
    assert {pen: len(paths) for pen, paths in hpgl.items()} == {"1": 1, "2": 2}
    assert "3 strokes left out" in report[1]
    assert report[2:] == ["pen 1: #ff9900, 1 paths", "pen 2: #000000, 2 paths"]


def test_too_many_colours_become_eight_pens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    strokes = [(tuple(rng.uniform(0, 1, 4)), tuple(rng.uniform(0, 0.8, 3)), 0.1, 1) for _ in range(60)]
    gcode, _, report = plot(tmp_path, painting("line", *strokes))
    assert len(gcode) == 8
    assert sum(map(len, gcode.values())) == 60
    assert "brought to 8 pens: name yours with --palette" in report[-1]
    after, before = map(float, re.search(r"([\d.]+) m of travel, in the order painted ([\d.]+) m", report[0]).groups())
    moved, place = 0.0, np.zeros(2)
    for paths in gcode.values():
        for path in paths:
            moved, place = moved + float(np.linalg.norm(path[0] - place)), path[-1]
        moved, place = moved + float(np.linalg.norm(place)), np.zeros(2)
    assert after == pytest.approx(moved / 1000, abs=0.06)
    assert after < before


def test_the_page(tmp_path: Path) -> None:
    file = painting("line", ((0, 0, 1, 1), BLACK, 0.1, 1))
    for page, width, height in (("a3", 420, 297), ("A4", 297, 210), ("100x400", 100, 400)):
        save_plot(tmp_path / "a.gcode", file, config=PlotConfig(page=page, margin=10))
        ((path,),) = read_gcode((tmp_path / "a.gcode").read_text()).values()
        path, long = path[np.argsort(path[:, 0])], width - 20
        assert path == pytest.approx(
            np.array([[10, (height + long / 2) / 2], [10 + long, (height - long / 2) / 2]]), abs=2e-3
        )
    assert PlotConfig(page="A4").sheet(200, 100) == (210, 297)
    for page in ("A9", "10", "5x100", "nanx100", "1e3x200", "6000x10"):
        with pytest.raises(GarlError, match="page"):
            PlotConfig(page=page)
    with pytest.raises(GarlError, match="margin 105 leaves nothing of the page A4"):
        PlotConfig(margin=105)


def test_more_points_than_anyone_plots_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garl.export.plotter.MAX_POINTS", 100)
    with pytest.raises(GarlError, match="more than 100 points: give a wider pen"):
        save_plot(tmp_path / "a.hpgl", painting("bezier", (BEND, BLACK, 0.24, 1)), config=PlotConfig(pen_width=0.3))
    assert not (tmp_path / "a.hpgl").exists()
