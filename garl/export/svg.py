"""Strokes as vectors: a painting that any drawing program opens and a plotter follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

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
    on_curve,
)
from garl.engine.differentiable import Tip
from garl.errors import GarlError
from garl.export.strokefile import StrokeFile, as_png

XLINK = "http://www.w3.org/1999/xlink"  # programs of some years ago do not know a plain href
ET.register_namespace("xlink", XLINK)
SEGMENTS = 16  # of a Bézier that tapers, or a line that tapers and is pressed


def save_svg(path: str | Path, strokefile: StrokeFile, index: int = 0, tips: Sequence[Tip] | None = None) -> None:
    """Write painting `index` as SVG, one element per stroke that leaves paint, in units of canvas pixels.

    A canvas that was begun is the picture beneath them; where it is locked, a mask hides the strokes.
    Texture, jitter and post-processing have no vector form and are left out. With `tips`, one for each brush, strokes
    are as wide and as strong as the engine's are in the mean; without, as wide as their dabs, and opaque. Raises
    GarlError if there is no such painting, a brush lacks its stroke type or dab scales, or the folder cannot be
    written.
    """
    if not 0 <= index < len(strokefile.strokes):
        raise GarlError(f"no painting {index}: choose 0 to {len(strokefile.strokes) - 1}")
    shapes = [brush_shape(brush) for brush in strokefile.brushes]
    inked = (
        [(2 * tip.radius / np.mean(s), tip.strength) for tip, (_, s) in zip(tips, shapes, strict=True)] if tips else []
    )
    height, width = strokefile.height, strokefile.width
    strokes = strokefile.strokes[index].astype(np.float64)  # the sums below shall not round to float32
    root = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    ET.SubElement(root, "title").text = f"garl painting {index}: {len(strokes)} strokes"
    ground = np.array(strokefile.background) / 255
    size = {"width": str(width), "height": str(height)}
    ET.SubElement(root, "rect", size, fill=_rgb(ground))
    if strokefile.canvas is not None:
        _picture(root, strokefile.canvas, size)
    page = root
    for number, stroke in enumerate(strokes):
        if number == strokefile.free_from and strokefile.free is not None:
            mask = ET.SubElement(root, "mask", size, id="free", maskUnits="userSpaceOnUse")
            _picture(mask, strokefile.free, size)
            page = ET.SubElement(root, "g", mask="url(#free)")
        if stroke[OPACITY] <= 0:
            continue
        kind, scales = shapes[int(stroke[BRUSH])]
        breadth, strength = inked[int(stroke[BRUSH])] if tips else (1.0, 1.0)
        points = stroke[POINTS].reshape(3, 2)[: POINTS_PER_TYPE[kind]] * (width, height)
        pressures = stroke[START_PRESSURE], stroke[END_PRESSURE]
        tag, attributes = _shape(kind, points, breadth * stroke[THICKNESS] * min(width, height), scales, pressures)
        color = _rgb(stroke[COLOR][: strokefile.channels])
        paint = {"stroke": color, "fill": "none"} if "stroke-width" in attributes else {"fill": color}
        ET.SubElement(page, tag, attributes | paint | {"opacity": _number(strength * stroke[OPACITY])})
    ET.indent(root)
    with replacing(path) as temporary:
        ET.ElementTree(root).write(temporary, "utf-8", xml_declaration=True)


def _picture(parent: ET.Element, picture: np.ndarray, size: dict[str, str]) -> None:
    """Add a picture or a mask, in whose pixels no other may be mixed."""
    data = f"data:image/png;base64,{as_png(picture)}"
    ET.SubElement(parent, "image", size | {f"{{{XLINK}}}href": data, "image-rendering": "pixelated"})


def brush_shape(brush: dict) -> tuple[str, tuple[float, float]]:
    """The stroke type, and the scales of the dab at the stroke's start and end."""
    try:
        kind, scales = brush["stroke"]["type"], (float(brush["dab"]["start_scale"]), float(brush["dab"]["end_scale"]))
        POINTS_PER_TYPE[kind]
    except (KeyError, TypeError, ValueError) as error:
        raise GarlError(
            "a brush of the stroke file has no known stroke.type with dab.start_scale and dab.end_scale: "
            "write the file with its complete brush"
        ) from error
    return kind, scales


def _shape(
    kind: str, points: np.ndarray, thickness: float, scales: tuple[float, float], pressures: tuple[float, float]
) -> tuple[str, dict[str, str]]:
    """The element of a stroke: its tag and geometry. Points (1–3, 2) and thickness are in pixels; scales and pressures
    are those at start and end."""
    start = scales[0] * pressures[0]
    if kind == "point":
        x, y = map(_number, points[0])
        return "circle", {"cx": x, "cy": y, "r": _number(thickness * start / 2)}
    if kind == "triangle":
        return "path", {"d": f"M{_pairs(points[:1])} L{_pairs(points[1:])} Z"}
    tapered, pressed = (first != last for first, last in (scales, pressures))
    if not tapered and not pressed:
        curve = f"M{_pairs(points[:1])} {'Q' if kind == 'bezier' else 'L'}{_pairs(points[1:])}"
        return "path", {"d": curve, "stroke-width": _number(thickness * start), "stroke-linecap": "round"}
    centers = on_curve(points, SEGMENTS) if kind == "bezier" or (tapered and pressed) else points
    return "path", {"d": _outline(centers, half_widths(centers, thickness, scales, pressures))}


def _outline(centers: np.ndarray, radii: np.ndarray) -> str:
    """Path data of a stroke through centers (K, 2) whose half width goes through radii (K,).

    Each piece is offset to both sides and closed by half circles. All pieces turn the same way, so the nonzero rule
    fills their union: one outline through all of them would leave holes at bends tighter than its half width.
    """
    pieces = []
    for a, b, radius_a, radius_b in zip(centers[:-1], centers[1:], radii[:-1], radii[1:], strict=True):
        length = np.linalg.norm(b - a)
        along = (b - a) / length if length > 0 else np.array([1.0, 0.0])
        side = np.array([along[1], -along[0]])
        corners = a + side * radius_a, b + side * radius_b, b - side * radius_b, a - side * radius_a
        first, second, third, fourth = (_pairs(corner[None]) for corner in corners)
        end, start = (f"A{_number(r)},{_number(r)} 0 0 1" for r in (radius_b, radius_a))
        pieces.append(f"M{first} L{second} {end} {third} L{fourth} {start} {first} Z")
    return " ".join(pieces)


def _pairs(points: np.ndarray) -> str:
    """Points (K, 2) as `x,y x,y …`."""
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """Six significant digits, without an exponent for the sizes that occur."""
    return f"{value:.6g}"


def _rgb(color: Sequence[float] | np.ndarray) -> str:
    """One or three channels in 0..1 as #rrggbb."""
    channels = [round(255 * float(channel)) for channel in color] * (3 // len(color))
    return "#" + "".join(f"{channel:02x}" for channel in channels)
