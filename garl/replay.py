"""Strokes from a file, painted anew: larger, with another brush, in another order, in fewer colours."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from garl.brush.geometry import BRUSH, COLOR, THICKNESS, in_color
from garl.brush.spec import Brush
from garl.errors import GarlError
from garl.export.strokefile import StrokeFile
from garl.paint_picture import Painting, resized, shrunk
from garl.paint_picture import replay as moments
from garl.palette import choose_palette, nearest
from garl.strokes import ORDERS, areas, fitted

MAX_PIXELS = 2**28
"""Of a canvas that strokes are drawn on, render scale included."""


def replay(
    file: StrokeFile,
    index: int = 0,
    size: int | None = None,
    brush: Brush | None = None,
    order: str = "as-painted",
    palette: str | None = None,
    count: int | None = None,
    smallest: float = 0.0,
    largest: float = 1.0,
) -> Painting:
    """Painting `index` of the file, painted anew.

    size: the longer side in pixels; brush: another than the file's; order: one of `ORDERS`; palette: a number of
    colours to find among the strokes', or a palette file; count: only so many, the first; smallest, largest: bounds of
    the thickness. What is None is as painted. Raises GarlError.
    """
    if not 0 <= index < len(file.strokes):
        raise GarlError(f"no painting {index}: choose 0 to {len(file.strokes) - 1}")
    if not 0 <= smallest <= largest <= 1:
        raise GarlError(f"sizes go from 0 to 1, the smallest at most the largest: {smallest:g} and {largest:g} do not")
    brushes = tuple(Brush.from_dict(each) for each in file.brushes)
    kinds = sorted({each.spec.stroke.type for each in brushes})
    if len(kinds) > 1 and (brush is not None or order != "as-painted"):
        raise GarlError(
            f"the file's brushes are of the types {' and '.join(kinds)}: leave it its brushes and the order as painted"
        )
    strokes, (height, width) = file.strokes[index, :count].copy(), (file.height, file.width)
    if brush is not None:
        strokes, brushes = fitted(strokes, kinds[0], brush.spec.stroke.type), (brush,)
        strokes[:, BRUSH] = 0
    strokes[:, THICKNESS] = strokes[:, THICKNESS].clip(smallest, largest)
    if palette is not None:
        colors = in_color(strokes[:, COLOR], file.channels)
        found = choose_palette(palette, colors, areas(strokes))
        strokes[:, COLOR] = (found if file.channels == 3 else found.mean(1, keepdims=True))[nearest(colors, found)]
    first = min(file.free_from, len(strokes))  # those before it do not keep to the mask, and stay before it
    parts = [part for part in (strokes[:first], strokes[first:]) if len(part)]
    strokes = np.concatenate([part[ORDERS[order](part, brushes[0].spec.stroke.type)] for part in parts])
    if size is not None:
        height, width = (max(1, round(side * size / max(file.height, file.width))) for side in (height, width))
    scale = file.render_scale  # what is painted larger needs no more pixels than it had
    scale = min(scale, math.ceil(scale * max(file.height, file.width) / max(height, width)))
    if height * width * scale**2 > MAX_PIXELS:
        side = math.isqrt(MAX_PIXELS) // scale
        raise GarlError(f"{width}×{height} pixels are too many to draw on: give a --size of at most {side:,}")
    painted = replace(
        file,
        height=height,
        width=width,
        brushes=tuple(each.to_dict() for each in brushes),
        render_scale=scale,
        strokes=strokes[None],
        seeds=file.seeds[index : index + 1],
        canvas=None if file.canvas is None else resized(file.canvas, (height, width)),
        free=None if file.free is None else shrunk(file.free, (height, width)),
        free_from=first,
    )
    *_, picture = moments(painted)
    return Painting(picture, painted)
