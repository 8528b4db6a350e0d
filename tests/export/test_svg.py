import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from garl.brush.geometry import BRUSH, END_PRESSURE, OPACITY, START_PRESSURE, THICKNESS, fully_pressed
from garl.brush.spec import load_brush
from garl.engine.differentiable import Tip
from garl.errors import GarlError
from garl.export.strokefile import StrokeFile
from garl.export.svg import SEGMENTS, save_svg
from garl.replay import replay

STROKES = fully_pressed(
    np.array(
        [
            # x0 y0 x1 y1 x2 y2, red green blue, thickness, opacity
            [[0.1, 0.2, 0.5, 0.9, 0.75, 0.4, 1, 0.5, 0, 0.2, 0.25]],
            [[0.5, 0.5, 0.25, 0.75, 0.25, 0.75, 0.2, 0.4, 0.6, 0.1, 1]],
        ],
        np.float32,
    )
)


def painting(kind: str = "bezier", start: float = 1, end: float = 1, channels: int = 3) -> StrokeFile:
    """Two paintings of one stroke, 40 wide and 20 high."""
    brush = {"stroke": {"type": kind}, "dab": {"start_scale": start, "end_scale": end}}
    ground = (255, 128, 0)[:channels]
    return StrokeFile(20, 40, channels, ground, (brush,), 1, STROKES.copy(), np.array([3, 4]))


def write(tmp_path, file: StrokeFile, index: int = 0) -> tuple[ET.Element, ET.Element]:
    """The root, and the element of the only stroke."""
    save_svg(tmp_path / "painting.svg", file, index)
    root = ET.parse(tmp_path / "painting.svg").getroot()
    return root, root[-1]


def local(element: ET.Element) -> str:
    return element.tag.removeprefix("{http://www.w3.org/2000/svg}")


def test_the_page(tmp_path):
    root, _ = write(tmp_path, painting())
    assert local(root) == "svg"
    assert root.attrib == {"viewBox": "0 0 40 20"}
    assert [local(child) for child in root] == ["title", "rect", "path"]
    assert root[0].text == "garl painting 0: 1 strokes"
    assert root[1].attrib == {"width": "40", "height": "20", "fill": "#ff8000"}


def test_a_bezier(tmp_path):
    _, path = write(tmp_path, painting(start=0.5, end=0.5))
    assert path.attrib == {
        "d": "M4,4 Q20,18 30,8",
        "stroke-width": "2",  # 0.2 × 20 × 0.5
        "stroke-linecap": "round",
        "stroke": "#ff8000",
        "fill": "none",
        "opacity": "0.25",
    }


def test_strokes_are_as_wide_and_strong_as_the_engines(tmp_path):
    tip = Tip(np.eye(3, dtype=np.float32), False, radius=0.3, edge=0.1, strength=0.5)
    save_svg(tmp_path / "painting.svg", painting(start=1, end=0.5), tips=[tip])
    text = (tmp_path / "painting.svg").read_text()
    assert f"A{2 * 0.4:g}," in text  # its end: half of 0.2 × 20 × 0.5, times 0.3 / (0.75 / 2)
    assert 'opacity="0.125"' in text


def test_a_line_and_another_painting(tmp_path):
    _, path = write(tmp_path, painting("line"), index=1)
    assert path.attrib["d"] == "M20,10 L10,15"
    assert path.attrib["stroke"] == "#336699"
    assert path.attrib["opacity"] == "1"


def test_a_triangle_is_filled(tmp_path):
    _, path = write(tmp_path, painting("triangle"))
    assert path.attrib == {"d": "M4,4 L20,18 30,8 Z", "fill": "#ff8000", "opacity": "0.25"}


def test_a_point_is_a_disc_of_the_first_scale(tmp_path):
    _, disc = write(tmp_path, painting("point", start=1.5, end=9))
    assert local(disc) == "circle"
    assert disc.attrib == {"cx": "4", "cy": "4", "r": "3", "fill": "#ff8000", "opacity": "0.25"}


def test_grey_reads_red_alone(tmp_path):
    root, path = write(tmp_path, painting(channels=1), index=1)
    assert root[1].attrib["fill"] == "#ffffff"
    assert path.attrib["stroke"] == "#333333"


def test_a_tapered_line_is_an_outline_with_round_ends(tmp_path):
    strokes = STROKES[:1].copy()
    strokes[0, 0, :4] = 0.25, 0.5, 0.75, 0.5  # (10, 10) → (30, 10), thickness 4
    _, path = write(tmp_path, replace(painting("line", 0.5, 1.5), strokes=strokes, seeds=np.array([1])))
    assert path.attrib["d"] == "M10,9 L30,7 A3,3 0 0 1 30,13 L10,11 A1,1 0 0 1 10,9 Z"
    assert path.attrib["fill"] == "#ff8000"
    assert "stroke" not in path.attrib


def test_a_tapered_curve_is_pieces_that_turn_one_way_and_narrow_along_its_length(tmp_path):
    _, path = write(tmp_path, painting(start=1, end=0))
    pieces = path.attrib["d"].split(" Z")[:-1]
    assert len(pieces) == SEGMENTS
    radii = []
    for piece in pieces:
        first, second, end, third, fourth, start, _ = piece.replace(" 0 0 1", "").split()
        corners = [np.array([float(v) for v in c.lstrip("ML").split(",")]) for c in (first, second, third, fourth)]
        x, y = np.array(corners).T
        assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0  # clockwise, y down
        radii += [float(start.lstrip("A").split(",")[0]), float(end.lstrip("A").split(",")[0])]
        assert np.linalg.norm(corners[3] - corners[0]) == pytest.approx(2 * radii[-2], abs=1e-3)
    assert radii[0] == pytest.approx(2)
    assert radii[-1] == 0
    assert sorted(radii, reverse=True) == radii
    # half of the length is half of the taper, wherever the curve's parameter stands
    t = np.linspace(0, 1, 10_001)[:, None]
    a, b, c = np.array([[4, 4], [20, 18], [30, 8]])
    curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])
    expected = 2 * (1 - lengths / lengths[-1])[:: 10_000 // SEGMENTS]
    assert [radii[0], *radii[1::2]] == pytest.approx(expected, abs=0.01)


def test_a_stroke_that_stands_still(tmp_path):
    strokes = STROKES[:1].copy()
    strokes[0, 0, :6] = 0.5
    for kind in ("line", "bezier"):
        _, path = write(tmp_path, replace(painting(kind, 1, 2), strokes=strokes, seeds=np.array([1])))
        assert "nan" not in path.attrib["d"]
        assert "A4,4 0 0 1 20,14" in path.attrib["d"]  # its widest dab


def pressed(file: StrokeFile, start: float, end: float) -> StrokeFile:
    """The first painting with other pressures."""
    strokes = file.strokes[:1].copy()
    strokes[..., [START_PRESSURE, END_PRESSURE]] = start, end
    return replace(file, strokes=strokes, seeds=file.seeds[:1])


def test_pressure_tapers_a_stroke(tmp_path):
    _, even = write(tmp_path, pressed(painting(), 0.25, 0.25))
    assert even.attrib["stroke-width"] == "1"
    line = painting("line")
    line.strokes[0, 0, :4] = 0.25, 0.5, 0.75, 0.5  # (10, 10) → (30, 10), thickness 4
    _, path = write(tmp_path, pressed(line, 0.5, 0.25))
    assert path.attrib["d"] == "M10,9 L30,9.5 A0.5,0.5 0 0 1 30,10.5 L10,11 A1,1 0 0 1 10,9 Z"
    _, disc = write(tmp_path, pressed(painting("point", start=1.5), 0.5, 0.25))
    assert disc.attrib["r"] == "1.5"


def test_pressure_multiplies_the_brushs_own_taper(tmp_path):
    line = painting("line", start=0.5, end=1)
    line.strokes[0, 0, :4] = 0.25, 0.5, 0.75, 0.5
    _, path = write(tmp_path, pressed(line, 1, 0))
    radii = [float(radius) for radius in re.findall(r"A([\d.]+),", path.attrib["d"])][::2]  # where each piece ends
    along = np.arange(1, SEGMENTS + 1) / SEGMENTS
    assert radii == pytest.approx(2 * (0.5 + 0.5 * along) * (1 - along), abs=1e-4)


def test_each_stroke_has_its_own_brush_and_a_lifted_pen_none(tmp_path):
    wide, narrow = painting(start=1, end=1).brushes[0], painting("line", start=0.5, end=0.5).brushes[0]
    strokes = np.repeat(STROKES[:1], 3, 1)
    strokes[0, 1, BRUSH] = 1
    strokes[0, 2, OPACITY] = 0
    root, _ = write(tmp_path, replace(painting(), brushes=(wide, narrow), strokes=strokes, seeds=np.array([3])))
    assert [child.attrib["stroke-width"] for child in root[2:]] == ["4", "2"]
    assert [child.attrib["d"] for child in root[2:]] == ["M4,4 Q20,18 30,8", "M4,4 L20,18"]


@pytest.mark.parametrize(("brush", "most"), [("hard_round", 1.0), ("line", 0.8), ("triangle", 0.5), ("ink", 1.2)])
def test_a_drawing_program_shows_what_the_engine_paints(tmp_path, brush, most):
    resvg = pytest.importorskip("resvg_py")
    rows = np.random.default_rng(6).uniform(0, 1, (1, 12, 14)).astype(np.float32)
    rows[..., THICKNESS] = rows[..., THICKNESS] * 0.2 + 0.02
    rows[..., BRUSH] = 0
    file = StrokeFile(96, 128, 3, (250, 200, 150), (load_brush(brush).to_dict(),), 1, rows, np.array([0]))
    painting = replay(file)
    painting.save(tmp_path / "a.svg")
    png = bytes(resvg.svg_to_bytes(svg_string=(tmp_path / "a.svg").read_text(), width=512, height=384))
    drawn = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(96, 4, 128, 4, 3).mean((1, 3))
    off = np.abs(drawn - painting.picture.transpose(1, 2, 0))
    assert off.mean() < most
    assert painting.picture.std() > 20


def test_mistakes(tmp_path):
    with pytest.raises(GarlError, match="no painting 2: choose 0 to 1"):
        save_svg(tmp_path / "painting.svg", painting(), 2)
    for brush in ({}, {"stroke": 1}, {"stroke": {"type": []}, "dab": {"start_scale": 1, "end_scale": 1}}):
        with pytest.raises(GarlError, match="write the file with its complete brush"):
            save_svg(tmp_path / "painting.svg", replace(painting(), brushes=(brush,)))
    with pytest.raises(GarlError, match="cannot write"):
        save_svg(tmp_path / "missing" / "painting.svg", painting())


def test_a_canvas_that_was_begun_lies_beneath_and_a_mask_over_what_keeps_to_it(tmp_path):
    rng = np.random.default_rng(0)
    canvas, free = rng.integers(0, 256, (3, 20, 40), np.uint8), rng.random((20, 40)) < 0.5
    strokes = STROKES.reshape(1, 2, -1)
    file = replace(painting(), strokes=strokes, seeds=np.array([3]), canvas=canvas, free=free, free_from=1)
    save_svg(tmp_path / "begun.svg", file)
    assert 'xlink:href="data:image/png;base64,' in (tmp_path / "begun.svg").read_text()
    root = ET.parse(tmp_path / "begun.svg").getroot()
    assert [local(child) for child in root] == ["title", "rect", "image", "path", "mask", "g"]
    _, _, beneath, unmasked, mask, group = root
    assert np.array_equal(embedded(beneath), canvas.transpose(1, 2, 0))
    assert np.array_equal(embedded(mask[0]), free)
    assert group.attrib == {"mask": f"url(#{mask.get('id')})"}
    assert [unmasked.get("opacity"), *(path.get("opacity") for path in group)] == ["0.25", "1"]


def embedded(image: ET.Element) -> np.ndarray:
    data = image.attrib["{http://www.w3.org/1999/xlink}href"].removeprefix("data:image/png;base64,")
    assert (image.get("width"), image.get("height")) == ("40", "20")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
