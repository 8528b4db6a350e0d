"""Brush files: what loads, what each mistake is told, and the round trip through a stroke file."""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from garl.brush.geometry import POINTS_PER_TYPE
from garl.brush.spec import (
    Brush,
    BrushSpec,
    Control,
    Dab,
    Jitter,
    PostProcessing,
    Stroke,
    Texture,
    library,
    load_brush,
    load_texture,
    parse_brush,
)
from garl.errors import GarlError

THESIS_EXAMPLE = """\
name: Splatter Paint Brush
texture:
  path: splatter.png
  opacity: 1.0
stroke:
  type: bezier
  step: 0.2
control:
  max_thickness: 0.5
  min thickness: 0.02
  max opacity: 1
  min_opacity: 0.5
dab:
  start_scale: 1
  end_scale: 0.4
  jitter:
    scale: 0.5
    rotation: 180
    position: 0.15
    color: 0.2
    opacity: 0.1
  follow_stroke_angle: true
post processing:
  blur: 0
  noise: 0
  edge_blend: 0
"""
"""Appendix A.1, verbatim: three of its keys hold spaces."""

MINIMAL = """\
name: minimal
texture: {path: dot.png}
stroke: {type: point}
control: {max_thickness: 0.4, min_thickness: 0.1, max_opacity: 0.9, min_opacity: 0.3}
"""


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write_brush(folder: Path, texture: bytes, text: str = MINIMAL) -> str:
    (folder / "dot.png").write_bytes(texture)
    (folder / "minimal.yaml").write_text(text)
    return str(folder / "minimal.yaml")


def test_thesis_example() -> None:
    assert parse_brush(THESIS_EXAMPLE, "a.yaml") == BrushSpec(
        name="Splatter Paint Brush",
        texture=Texture(path="splatter.png", opacity=1),
        stroke=Stroke(type="bezier", step=0.2),
        control=Control(max_thickness=0.5, min_thickness=0.02, max_opacity=1, min_opacity=0.5),
        dab=Dab(
            start_scale=1,
            end_scale=0.4,
            jitter=Jitter(scale=0.5, rotation=180, position=0.15, color=0.2, opacity=0.1),
            follow_stroke_angle=True,
        ),
        post_processing=PostProcessing(blur=0, noise=0, edge_blend=0),
    )


def test_defaults_leave_a_plain_stroke() -> None:
    spec = parse_brush(MINIMAL, "a.yaml")
    assert (spec.texture.opacity, spec.stroke.step, spec.dab.start_scale, spec.dab.end_scale) == (1, 0.2, 1, 1)
    assert set(spec.dab.jitter.model_dump().values()) == {0}
    assert set(spec.post_processing.model_dump().values()) == {0}
    assert not spec.dab.follow_stroke_angle


def test_stroke_types_are_those_of_the_geometry() -> None:
    for kind in POINTS_PER_TYPE:
        assert parse_brush(MINIMAL.replace("point", kind), "a.yaml").stroke.type == kind


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("type: bezier", "type: curve", "`stroke.type` must be one of bezier, line, triangle, point, not 'curve'."),
        ("step: 0.2", "step: 0", "`stroke.step` must be a number above 0, at most 4, not 0."),
        ("step: 0.2", "step: .nan", "`stroke.step` must be a number above 0, at most 4, not nan."),
        ("color: 0.2", "color: 1.5", "`dab.jitter.color` must be a number from 0 to 1, not 1.5."),
        (
            "rotation: 180",
            f"rotation: 0x{'f' * 5000}",
            "`dab.jitter.rotation` must be a number of degrees from 0 to 180, not a huge integer.",
        ),
        ("angle: true", "angle: maybe", "`dab.follow_stroke_angle` must be true or false, not 'maybe'."),
        (
            "min thickness: 0.02",
            "min thickness: 0.6",
            "`control.min_thickness` must be at most `control.max_thickness` (0.5), not 0.6.",
        ),
        (
            "max opacity: 1",
            "max opacity: 0.25",
            "`control.min_opacity` must be at most `control.max_opacity` (0.25), not 0.5.",
        ),
        ("  max opacity: 1\n", "", "`control.max_opacity` is missing; it must be a number from 0 to 1."),
        (
            "    position: 0.15",
            "    positon: 0.15",
            "`dab.jitter.positon` is unknown (did you mean position?); "
            "allowed here: scale, rotation, position, color, opacity.",
        ),
        (
            "post processing:\n  blur: 0\n",
            "post processing: 3\nx:\n",
            "`post_processing` must be a mapping of blur, noise, edge_blend, not 3.",
        ),
    ],
)
def test_mistake_in_a_field(old: str, new: str, sentence: str) -> None:
    assert old in THESIS_EXAMPLE
    with pytest.raises(GarlError) as caught:
        parse_brush(THESIS_EXAMPLE.replace(old, new), "my.yaml")
    assert str(caught.value) == f"my.yaml: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- 1", "my.yaml: a brush must be a mapping of name, texture, stroke, control, dab, post_processing."),
        ("name: x\n" * 2, "my.yaml is not a brush file in YAML: `name` is given twice (line 2)."),
        ("min a: 1\nmin_a: 2", "my.yaml is not a brush file in YAML: `min_a` is given twice (line 2)."),
        (
            "a: &a [x]\nb: [*a, *a]",
            "my.yaml is not a brush file in YAML: anchors and aliases are not allowed (line 1).",
        ),
        ("[" * 9 + "]" * 9, "my.yaml is not a brush file in YAML: at most 8 levels of nesting are allowed (line 1)."),
        ("#" * (64 * 1024 + 1), "my.yaml is too large for a brush file: at most 64 KiB are allowed."),
        ("a: !!timestamp x", "my.yaml is not a brush file in YAML: a value does not fit its type."),
    ],
)
def test_mistake_in_the_yaml(text: str, sentence: str) -> None:
    with pytest.raises(GarlError) as caught:
        parse_brush(text, "my.yaml")
    assert str(caught.value) == sentence


def test_yaml_runs_no_code() -> None:
    with pytest.raises(GarlError, match="could not determine a constructor for the tag"):
        parse_brush("name: !!python/object/apply:os.getcwd []", "my.yaml")


def test_unknown_brush_names_the_library() -> None:
    with pytest.raises(GarlError, match=r"no brush 'splater' \(did you mean splatter\?\).*charcoal.*watercolour\.$"):
        load_brush("splater")


def test_missing_brush_file(tmp_path: Path) -> None:
    with pytest.raises(GarlError, match=r"nowhere\.yml cannot be read as a brush file: No such file"):
        load_brush(str(tmp_path / "nowhere.yml"))


def test_brush_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(GarlError, match=r"binary\.yaml cannot be read as a brush file: .*utf-8"):
        load_brush(str(tmp_path / "binary.yaml"))


def test_texture_from_brightness_is_padded_to_a_square(tmp_path: Path) -> None:
    picture = np.zeros((3, 7), np.uint8)
    picture[1, 2], picture[1, 5] = 255, 51
    expected = np.zeros((7, 7), np.float32)
    expected[3, 2], expected[3, 5] = 1, 0.2
    np.testing.assert_array_equal(load_brush(write_brush(tmp_path, png(picture))).texture, expected)


def test_texture_from_alpha(tmp_path: Path) -> None:
    picture = np.full((4, 4, 4), 255, np.uint8)
    picture[..., 3] = 0
    picture[1, 2] = (0, 0, 0, 102)  # black, but opaque: paint
    texture = load_brush(write_brush(tmp_path, png(picture))).texture
    assert texture[1, 2] == np.float32(0.4)
    assert texture.sum() == np.float32(0.4)


def test_texture_of_16_bits(tmp_path: Path) -> None:
    picture = np.zeros((4, 4), np.uint16)
    picture[2, 1] = 13107  # a fifth of 65535
    assert load_brush(write_brush(tmp_path, png(picture))).texture[2, 1] == np.float32(0.2)


def test_texture_with_paint_at_its_edge_gets_an_empty_ring(tmp_path: Path) -> None:
    texture = load_brush(write_brush(tmp_path, png(np.full((5, 5), 255, np.uint8)))).texture
    np.testing.assert_array_equal(texture, np.pad(np.ones((5, 5), np.float32), 1))


def test_large_texture_is_averaged_down(tmp_path: Path) -> None:
    picture = np.zeros((504, 504), np.uint8)
    picture[:, 1::2] = 255  # stripes of one pixel: their average is 0.5, their samples are 0 or 1
    texture = load_brush(write_brush(tmp_path, png(picture))).texture
    assert texture.shape == (128, 128)
    assert texture[0].sum() == 0
    np.testing.assert_allclose(texture[1:-1, 1:-1], 0.5, atol=1 / 255)


@pytest.mark.parametrize(
    ("texture", "sentence"),
    [
        (b"not a picture", "must be a PNG picture, and this one is corrupt or of another format."),
        (png(np.full((9, 9), 255, np.uint8))[:-30], "must be a PNG picture, and this one is corrupt or of another"),
        (png(np.full((8, 513), 255, np.uint8)), "must be at most 512 × 512 pixels, not 513 × 8."),
        (png(np.zeros((8, 8), np.uint8)), "must hold paint (opaque or white pixels), and every pixel"),
    ],
)
def test_mistake_in_the_texture(tmp_path: Path, texture: bytes, sentence: str) -> None:
    path = write_brush(tmp_path, texture)
    with pytest.raises(GarlError) as caught:
        load_brush(path)
    assert str(caught.value).startswith(f"{path}: `texture.path` 'dot.png' {sentence}")


def test_missing_texture(tmp_path: Path) -> None:
    path = write_brush(tmp_path, b"", MINIMAL.replace("dot.png", "dit.png"))
    with pytest.raises(GarlError, match=r"minimal\.yaml: `texture.path` 'dit.png' must name a PNG file that exists"):
        load_brush(path)


@pytest.mark.parametrize("reach", ["..", "absolute", "link"])
def test_a_brush_from_the_net_reaches_no_other_folder(tmp_path: Path, reach: str) -> None:
    (tmp_path / "secret.png").write_bytes(png(np.full((4, 4), 255, np.uint8)))
    folder = tmp_path / "from the net"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    named = {"..": "../secret.png", "absolute": str(tmp_path / "secret.png"), "link": "link.png"}[reach]
    spec = parse_brush(MINIMAL.replace("dot.png", f"'{named}'"), "a.yaml")
    with pytest.raises(GarlError, match=rf"`texture.path` '{named}' must stay in the brush's folder: copy the picture"):
        load_texture(spec, folder)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(GarlError, match=r"pipe\.yaml cannot be read as a brush file: not a plain file"):
        load_brush(str(tmp_path / "pipe.yaml"))
    path = write_brush(tmp_path, b"")
    (tmp_path / "dot.png").unlink()
    os.mkfifo(tmp_path / "dot.png")
    with pytest.raises(GarlError, match=r"`texture.path` 'dot.png' cannot be read: not a plain file"):
        load_brush(path)


def test_large_files_are_not_read(tmp_path: Path) -> None:
    path = write_brush(tmp_path, bytes(2**22 + 1))
    with pytest.raises(GarlError, match=r"`texture.path` 'dot.png' cannot be read: more than 4,194,304 bytes"):
        load_brush(path)
    (tmp_path / "minimal.yaml").write_bytes(b"#" * (2**16 + 1))
    with pytest.raises(GarlError, match=r"minimal\.yaml cannot be read as a brush file: more than 65,536 bytes"):
        load_brush(path)


@pytest.mark.parametrize("name", ['"\\e[2J"', '"a\\nb"', '""', "x" * 201])
def test_a_name_is_one_printable_line(name: str) -> None:
    with pytest.raises(GarlError, match="`name` must be a text of 1 to 200 characters in one line, not ") as caught:
        parse_brush(MINIMAL.replace("name: minimal", f"name: {name}"), "my.yaml")
    assert str(caught.value).isprintable()


def test_absolute_texture_path_stays_out_of_stroke_files(tmp_path: Path) -> None:
    folder = tmp_path / "ann"
    folder.mkdir()
    picture = png(np.full((4, 4), 255, np.uint8))
    brush = load_brush(write_brush(folder, picture, MINIMAL.replace("dot.png", str(folder / "dot.png"))))
    assert brush.spec.texture.path == "dot.png"
    assert "ann" not in json.dumps(brush.to_dict())


def test_round_trip_of_a_random_texture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 40)).astype(np.uint8)
    brush = load_brush(write_brush(tmp_path, png(picture)))
    again = Brush.from_dict(json.loads(json.dumps(brush.to_dict())))
    assert again.spec == brush.spec
    np.testing.assert_array_equal(again.texture, brush.texture)
    assert again.to_dict() == brush.to_dict()


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        (None, "must be a PNG picture of at most 128 KiB in base64, not None."),
        ("A" * 2**18, "must be a PNG picture of at most 128 KiB in base64, not 'AAAA"),
        ("not base64!", "must be a PNG picture in base64."),
        ("Zm9v", "must be a PNG picture, and this one is corrupt or of another format."),
        (
            base64.b64encode(png(np.full((129, 2), 255, np.uint8))).decode(),
            "must be at most 128 × 128 pixels, not 2 × 129.",
        ),
    ],
)
def test_mistake_in_a_stored_texture(encoded: str | None, sentence: str) -> None:
    stored = load_brush("point").to_dict()
    stored["texture"]["png_base64"] = encoded
    with pytest.raises(GarlError) as caught:
        Brush.from_dict(stored, "dot.json")
    assert str(caught.value).startswith(f"dot.json: `texture.png_base64` {sentence}")


def test_mistake_in_a_stored_brush() -> None:
    stored = load_brush("point").to_dict()
    stored["dab"]["end_scale"] = 5
    with pytest.raises(GarlError, match=r"^dot.json: `dab.end_scale` must be a number above 0, at most 4, not 5\.$"):
        Brush.from_dict(stored, "dot.json")


lines = THESIS_EXAMPLE.splitlines()
yaml_like = st.lists(
    st.sampled_from([*lines, "? [", "- {a: b}", "<<: {step: 1}", "!!int ''", "!!bool x", "1: 2"]) | st.text(max_size=12)
).map("\n".join)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(yaml_like)
def test_any_text_parses_or_raises_garl_error(text: str) -> None:
    try:
        spec = parse_brush(text, "fuzz.yaml")
    except GarlError:
        return
    assert isinstance(spec, BrushSpec)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_stored_brush_loads_or_raises_garl_error(data: st.DataObject) -> None:
    stored = load_brush("point").to_dict()
    parent = data.draw(st.sampled_from([stored, stored["texture"], stored["dab"], stored["dab"]["jitter"]]))
    key = data.draw(st.sampled_from(sorted(parent)) | st.text(max_size=8))
    parent[key] = data.draw(json_like | st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()))
    try:
        brush = Brush.from_dict(stored)
    except GarlError:
        return
    assert brush.texture.max() > 0


def test_library_is_sorted_and_large_enough() -> None:
    assert library() == sorted(library())
    assert len(library()) >= 14


def test_with_settings_replaces_those_and_no_others() -> None:
    oil = load_brush("oil")
    changed = oil.with_settings(dab={"start_scale": 0.25, "jitter": {"scale": 0.5}}, texture={"opacity": 0.5})
    assert changed.spec.dab == oil.spec.dab.model_copy(update={"start_scale": 0.25, "jitter": Jitter(scale=0.5)})
    assert changed.spec.texture.opacity == 0.5
    assert (changed.spec.stroke, changed.spec.control, changed.name) == (oil.spec.stroke, oil.spec.control, oil.name)
    assert changed.texture is oil.texture
    for wrong in ({"dab": {"size": 1}}, {"dabs": {"start_scale": 1}}, {"stroke": {"step": "far"}}):
        with pytest.raises(GarlError, match=r"^brush 'oil': `(dab\.size|dabs|stroke\.step)` "):
            oil.with_settings(**wrong)
