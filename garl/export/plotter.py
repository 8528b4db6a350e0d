"""Strokes as the way of a pen plotter, in G-code or HPGL: a pen for each colour, the lightest first.

The painting is fitted to the page, y upwards from the lower left corner, in millimetres. A stroke is drawn in the pen
that is nearest to what the stroke alone looks like on the paper, opacity included; what looks most like the paper
itself is left out. Paint hides what lies under it, ink does not: strokes are drawn whole, also those that others were
painted over, and within one pen in whichever order takes the least travel.

With a pen width, a stroke is filled by parallel passes: the ways round it, one within the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from garl.atomic import replacing
from garl.brush.geometry import (
    BRUSH,
    COLOR,
    END_PRESSURE,
    OPACITY,
    POINTS,
    POINTS_PER_TYPE,
    START_PRESSURE,
    THICKNESS,
    half_widths,
    in_color,
    on_curve,
)
from garl.errors import GarlError
from garl.export.strokefile import StrokeFile
from garl.export.svg import brush_shape
from garl.export.travel import shortened, travel
from garl.palette import find_palette, nearest
from garl.settings import Settings
from garl.strokes import areas

PAGES = {"A5": (148, 210), "A4": (210, 297), "A3": (297, 420), "A2": (420, 594), "A1": (594, 841)}
SIDES = 10, 5000
"""Millimetres that a page's sides have."""
PENS = 8
"""Pens that a painting of more than `MOST_PENS` colours is drawn with."""
MOST_PENS = 16
LIFT = 5.0
"""Height of the lifted pen in millimetres; on the paper it is 0."""
TAPERED = 8
"""Pieces at least of a stroke whose width changes."""
MAX_POINTS = 10**7
UNITS = 40
"""HPGL's, in a millimetre."""


class PlotConfig(Settings):
    """The page and the pens of a plot (.gcode, .hpgl)."""

    page: str = "A4"
    """Of a plot: A5 to A1, turned as the painting lies, or WIDTHxHEIGHT in millimetres."""
    margin: float = Field(15.0, ge=0)
    """Of a plot: empty millimetres around the painting."""
    pen_width: float | None = Field(None, ge=0.05)
    """Of a plot: millimetres; strokes that are thicker are filled by parallel passes. Without it a stroke is a line."""
    tolerance: float = Field(0.05, ge=0.001)
    """Of a plot: millimetres by which a curve may differ from the pieces that stand for it."""
    feed: float = Field(2000.0, gt=0)
    """Of a plot in G-code: millimetres a minute while drawing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.sheet(1, 1)) <= 2 * self.margin:
            raise GarlError(f"margin {self.margin:g} leaves nothing of the page {self.page}: make it smaller")
        return self

    def sheet(self, height: int, width: int) -> tuple[float, float]:
        """Width and height of the page in millimetres, for a painting of this height and width."""
        if self.page.upper() in PAGES:
            short, long = PAGES[self.page.upper()]
            return (long, short) if width > height else (short, long)
        sides = re.fullmatch(r"(\d+(?:\.\d+)?)[x×](\d+(?:\.\d+)?)", self.page, re.ASCII)
        if not sides or not all(SIDES[0] <= float(side) <= SIDES[1] for side in sides.groups()):
            raise GarlError(
                f"page {self.page!r} is unknown: give one of {', '.join(PAGES)}, or WIDTHxHEIGHT in millimetres, each "
                f"from {SIDES[0]} to {SIDES[1]}"
            )
        return float(sides[1]), float(sides[2])


@dataclass(frozen=True)
class Pen:
    """What one pen draws: paths (K, 2) in millimetres on the page, in the order drawn."""

    color: np.ndarray  # (3,), 0..1
    paths: list[np.ndarray]
    before: float  # millimetres of travel in the order painted
    after: float  # and in the order drawn

    @property
    def name(self) -> str:
        return "#" + "".join(f"{round(255 * value):02x}" for value in self.color)


@dataclass(frozen=True)
class Plot:
    """A painting as pens draw it."""

    page: tuple[float, float]  # width and height in millimetres
    pens: list[Pen]
    skipped: int  # strokes that look like the paper
    quantised: bool  # whether the painting had too many colours for pens
    begun: bool = False  # whether it is painted on a picture, or through a mask

    def report(self) -> list[str]:
        """What the plotter's owner should know, in sentences."""
        ways = [np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for pen in self.pens for path in pen.paths]
        before, after = sum(pen.before for pen in self.pens), sum(pen.after for pen in self.pens)
        lines = [
            f"page {self.page[0]:g}×{self.page[1]:g} mm, {sum(ways) / 1000:.1f} m drawn, "
            f"{after / 1000:.1f} m of travel, in the order painted {before / 1000:.1f} m",
            f"{self.skipped:,} strokes left out, as they look like the paper",
            *(f"pen {number}: {pen.name}, {len(pen.paths):,} paths" for number, pen in enumerate(self.pens, 1)),
        ]
        if self.quantised:
            lines.append(f"the colours were brought to {PENS} pens: name yours with --palette")
        if self.begun:
            lines.append("the picture beneath is left out, and strokes are drawn whole, also where a mask locks it")
        return lines


def plan(file: StrokeFile, index: int, config: PlotConfig) -> Plot:
    """Which pens draw painting `index`, and how. Raises GarlError if that would take too many points."""
    shapes = [brush_shape(brush) for brush in file.brushes]
    page = config.sheet(file.height, file.width)
    scale = min((page[0] - 2 * config.margin) / file.width, (page[1] - 2 * config.margin) / file.height)
    size = scale * np.array([file.width, file.height])
    corner = (np.array(page) - size) / 2
    strokes = file.strokes[index].astype(np.float64)
    looks, paper = (in_color(array, file.channels) for array in (strokes[:, COLOR], np.array([file.background]) / 255))
    few = len(np.unique(looks, axis=0)) <= MOST_PENS
    palette = find_palette(looks, MOST_PENS) if few else np.empty((0, 3))
    looks = paper + strokes[:, [OPACITY]] * (looks - paper)
    palette = np.concatenate([paper, palette if few else find_palette(looks, PENS, areas(strokes))])
    pen_of = np.where(strokes[:, OPACITY] > 0, nearest(looks, palette), 0)
    pen_of[np.isclose(palette[pen_of], paper, atol=0.5 / 255).all(1)] = 0
    pens, points = [], 0
    for pen in range(1, len(palette)):
        paths = []
        for stroke in strokes[pen_of == pen]:
            kind, scales = shapes[int(stroke[BRUSH])]
            for path in _clipped(_path(stroke, kind, scales, size, config), size):
                paths.append(corner + path * (1, -1) + (0, size[1]))
                points += len(path)
            if points > MAX_POINTS:
                raise GarlError(f"the plot has more than {MAX_POINTS:,} points: give a wider pen or a smaller page")
        if paths:
            ends = np.stack([path[[0, -1]] for path in paths])
            order, turned = shortened(ends)
            drawn = [paths[i][::-1] if back else paths[i] for i, back in zip(order, turned, strict=True)]
            after = travel(np.stack([path[[0, -1]] for path in drawn]))
            pens.append(Pen(palette[pen], drawn, travel(ends), after))
    begun = file.canvas is not None or file.free is not None
    return Plot(page, pens, int((pen_of == 0).sum()), not few, begun)


def _path(
    stroke: np.ndarray, kind: str, scales: tuple[float, float], size: np.ndarray, config: PlotConfig
) -> np.ndarray:
    """The way (K, 2) of the pen along one stroke, on a canvas of `size` in millimetres, y downwards."""
    points = stroke[POINTS].reshape(3, 2)[: POINTS_PER_TYPE[kind]] * size
    pen = config.pen_width
    if kind == "triangle":
        return _triangle(points, pen)
    pressures = stroke[START_PRESSURE], stroke[END_PRESSURE]
    pieces = TAPERED if pen and (scales[0] != scales[1] or pressures[0] != pressures[1]) else 1
    if kind == "bezier":  # a quarter of this, over the square of the pieces, is how far they lie off the curve
        bend = float(np.linalg.norm(points[0] - 2 * points[1] + points[2]))
        pieces = max(pieces, math.ceil(math.sqrt(bend / (4 * config.tolerance))))
    spine = on_curve(points, pieces) if kind != "point" else points
    spine = spine[np.append(True, (np.diff(spine, axis=0) != 0).any(1))]
    if pen is None:
        return spine
    inner = np.maximum(0.0, half_widths(spine, stroke[THICKNESS] * min(size), scales, pressures) - pen / 2)
    passes = math.ceil(inner.max() / pen)
    return np.concatenate([_ring(spine, inner * n / passes, config.tolerance) for n in range(passes, 0, -1)] + [spine])


def _triangle(corners: np.ndarray, pen: float | None) -> np.ndarray:
    """Round the corners (3, 2); with a pen width, within the triangle and ever closer to the middle of its incircle."""
    corners = corners[[0, 1, 2, 0]]
    sides = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]
    radius = abs(ax * by - ay * bx) / max(sides.sum(), 1e-9)
    if pen is None or radius <= pen / 2:
        return corners
    middle = (sides[[1, 2, 0], None] * corners[:3]).sum(0) / sides.sum()
    passes = math.ceil((radius - pen / 2) / pen)
    shares = (1 - pen / (2 * radius)) * np.arange(passes, -1, -1) / passes
    return np.concatenate([middle + (corners - middle) * share for share in shares])


def _ring(spine: np.ndarray, radii: np.ndarray, tolerance: float) -> np.ndarray:
    """Once round a spine (K, 2), as far from its points as `radii` (K,) say: up one side and down the other, with arcs
    about every point, so that both ends are round."""
    if len(spine) == 1:
        spine, radii = spine + np.array([[0, 0], [1e-6, 0]]), radii.repeat(2)
    walk, reach = (np.concatenate([each, each[-2:0:-1]]) for each in (spine, radii))  # there and back
    after = np.arctan2(*(np.roll(walk, -1, 0) - walk).T[::-1])
    before = np.roll(after, 1)
    turn = (after - before + np.pi + 1e-6) % (2 * np.pi) - np.pi - 1e-6  # where it turns back, forwards round the end
    arcs = 1 + np.ceil(np.abs(turn) / (2 * np.arccos(1 - tolerance / np.maximum(reach, tolerance)))).astype(int)
    at = np.repeat(np.arange(len(walk)), arcs + 1)
    share = (np.arange(len(at)) - np.repeat(np.cumsum(arcs + 1) - arcs - 1, arcs + 1)) / arcs[at]
    angle = before[at] + np.pi / 2 + share * turn[at]
    ring = walk[at] + reach[at, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([ring, ring[:1]])


def _clipped(path: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """The parts of a path (K, 2) that lie on the canvas from 0 to `size` (Liang and Barsky 1984)."""
    if ((path >= 0) & (path <= size)).all():
        return [path]
    start, step = path[:-1], np.diff(path, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.stack([-start / step, (size - start) / step])  # (2, K − 1, 2): where each wall is met
    low, high = walls.min(0), walls.max(0)
    along = step == 0  # then a wall is met everywhere or nowhere
    low[along], high[along] = np.where((start < 0) | (start > size), np.inf, -np.inf)[along], np.inf
    enters, leaves = np.maximum(0, low.max(1)), np.minimum(1, high.min(1))
    parts: list[list[np.ndarray]] = []
    for i in np.flatnonzero(enters < leaves):
        if not parts or enters[i] > 0 or not np.array_equal(parts[-1][-1], start[i]):
            parts.append([start[i] + enters[i] * step[i]])
        parts[-1].append(path[i + 1] if leaves[i] == 1 else start[i] + leaves[i] * step[i])
    return [np.clip(part, 0, size) for part in parts]


def gcode(plot: Plot, feed: float) -> Iterator[str]:
    """Lines of G-code in millimetres: the pen is lifted and lowered along z, and M0 waits for it to be changed."""
    yield f"; garl: page {plot.page[0]:g} x {plot.page[1]:g} mm, {len(plot.pens)} pens; z {LIFT:g} is up, 0 is down"
    yield from ("G21 ; millimetres", "G90 ; absolute", "G94 ; feed a minute", f"G0 Z{LIFT:g}")
    for number, pen in enumerate(plot.pens, 1):
        yield f"G0 X0 Y0\nM0 ; insert pen {number} of {len(plot.pens)}: {pen.name}, {len(pen.paths)} paths"
        for path in pen.paths:
            places = [f"X{x:.3f} Y{y:.3f}" for x, y in path]
            yield f"G0 {places[0]}\nG1 Z0 F{feed:g}"
            yield from (f"G1 {place}" for place in places[1:])
            yield f"G0 Z{LIFT:g}"
    yield "G0 X0 Y0\nM2"


def hpgl(plot: Plot) -> Iterator[str]:
    """Lines of HPGL, in its units of 1/40 mm: SP takes a pen, PU goes with it lifted, PD lowers it and draws."""
    yield "IN;"
    for number, pen in enumerate(plot.pens, 1):
        yield f"SP{number};"
        for path in pen.paths:
            places = [f"{x},{y}" for x, y in np.rint(path * UNITS).astype(int)]
            yield f"PU{places[0]};PD;"
            for start in range(1, len(places), 32):  # plotters remember few numbers at a time
                yield f"PD{','.join(places[start : start + 32])};"
    yield "PU;SP0;"


def save_plot(path: Path, file: StrokeFile, index: int = 0, config: PlotConfig = PlotConfig()) -> list[str]:  # noqa: B008
    """Write painting `index` as .gcode or .hpgl; returns what the plotter's owner should know. Raises GarlError."""
    plot = plan(file, index, config)
    lines = gcode(plot, config.feed) if path.suffix.lower() == ".gcode" else hpgl(plot)
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "ascii")
    return plot.report()
