"""A sheet that shows brushes: each drawn with a few strokes of its own kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from garl.brush.geometry import fully_pressed
from garl.brush.spec import Brush, library, load_brush
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.export.picture import grid, save_png

# Points x0 y0 x1 y1 x2 y2, red green blue, thickness and opacity within the brush's range: an S-like sweep,
# a bow, a short dash, and a faint stroke across them.
STROKES = np.array(
    [
        [0.12, 0.30, 0.50, 0.02, 0.86, 0.34, 0.10, 0.25, 0.55, 0.9, 1.0],
        [0.15, 0.80, 0.30, 0.35, 0.60, 0.62, 0.80, 0.20, 0.15, 0.5, 1.0],
        [0.68, 0.85, 0.80, 0.70, 0.88, 0.52, 0.10, 0.50, 0.30, 0.2, 1.0],
        [0.20, 0.50, 0.50, 0.60, 0.75, 0.20, 0.90, 0.65, 0.10, 0.4, 0.3],
    ],
    np.float32,
)
WIDEST = 0.22
"""Thickness of the boldest stroke at most, so that the sheet shows strokes and not blots."""


def draw(brush: Brush, size: int) -> np.ndarray:
    """The brush's strokes on white paper, (3, size, size) uint8."""
    control = brush.spec.control
    strokes = fully_pressed(STROKES)
    thickest = max(control.min_thickness, min(control.max_thickness, WIDEST))
    strokes[:, 9] = control.min_thickness + strokes[:, 9] * (thickest - control.min_thickness)
    strokes[:, 10] = control.min_opacity + strokes[:, 10] * (control.max_opacity - control.min_opacity)
    canvas = np.full((1, 3, size, size), 255, np.uint8)
    prepared = PreparedBrushes(brush)
    for i, stroke in enumerate(strokes):
        render_strokes(canvas, stroke[None], np.array([7]), i, prepared)
    return canvas[0]


def chosen(brush: str | None) -> list[Brush]:
    """The brush of that name or path, or the whole library."""
    return [load_brush(name) for name in ([brush] if brush else library())]


def list_brushes(brush: str | None = None) -> str:
    """One line a brush: its name, its stroke type, and its thickness in percent of the canvas."""
    lines = []
    for each in chosen(brush):
        control = each.spec.control
        width = f"{100 * control.min_thickness:g}–{100 * control.max_thickness:g} % of the canvas"
        lines.append(f"{each.name:14} {each.spec.stroke.type:9} {width}")
    return "\n".join(lines)


def draw_sheet(path: Path, brush: str | None = None, size: int = 256) -> None:
    """Save a PNG with every brush's strokes and name. Raises GarlError if it cannot be written."""
    pictures = []
    for each in chosen(brush):
        picture = Image.fromarray(draw(each, size).transpose(1, 2, 0))
        ImageDraw.Draw(picture).text((4, 2), each.name, (0, 0, 0), ImageFont.load_default(max(10, size // 16)))
        pictures.append(np.asarray(picture).transpose(2, 0, 1))
    save_png(path, grid(np.stack(pictures)))
