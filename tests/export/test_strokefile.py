import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from garl.brush.geometry import BRUSH, STROKE_SIZE, fully_pressed
from garl.errors import GarlError
from garl.export import strokefile as module
from garl.export.strokefile import StrokeFile

BRUSH_1 = {"stroke": {"type": "line"}, "dab": {"start_scale": 1.0, "end_scale": 0.5}, "name": "é"}
OTHER = BRUSH_1 | {"name": "other"}
FIELDS = ("height", "width", "channels", "background", "brushes", "render_scale")


def example(paintings: int = 2, strokes: int = 3) -> StrokeFile:
    rng = np.random.default_rng(0)
    drawn = rng.random((paintings, strokes, STROKE_SIZE), np.float32)
    drawn[..., BRUSH] = rng.integers(0, 2, (paintings, strokes))
    return StrokeFile(
        height=20,
        width=30,
        channels=3,
        background=(0, 128, 255),
        brushes=(BRUSH_1, OTHER),
        render_scale=2,
        strokes=drawn,
        seeds=np.arange(paintings) * -(2**62),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A scratch name that each example overwrites."""
    return tmp_path_factory.mktemp("strokes") / "painting.json"


unit = st.floats(0, 1, width=32)


@settings(max_examples=50, deadline=None)
@given(
    numbers=hnp.arrays(np.float32, (2, 3, BRUSH), elements=unit),
    brushes=hnp.arrays(np.int8, (2, 3, 1), elements=st.integers(0, 1)),
)
def test_everything_returns_bit_for_bit(path, numbers, brushes):
    strokes = np.concatenate([numbers, brushes.astype(np.float32)], -1)
    saved = replace(example(), strokes=strokes)
    saved.save(path)
    loaded = StrokeFile.load(path)
    assert loaded.strokes.tobytes() == strokes.tobytes()  # even the sign of zero
    assert loaded.seeds.tolist() == [0, -(2**62)]
    assert [getattr(loaded, name) for name in FIELDS] == [getattr(saved, name) for name in FIELDS]
    assert (loaded.strokes.dtype, loaded.seeds.dtype) == (np.float32, np.int64)


def test_the_text_names_what_it_holds_in_short_decimals(path):
    stroke = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.05, 1, 0, 0.3, 1], np.float32)
    replace(example(1, 1), strokes=stroke[None, None], seeds=np.array([7])).save(path)
    text = path.read_text()
    assert json.loads(text) == {
        "schema": "garl-strokes/2",
        "height": 20,
        "width": 30,
        "channels": 3,
        "background": [0, 128, 255],
        "render_scale": 2,
        "brushes": [BRUSH_1, OTHER],
        "paintings": [
            {
                "seed": 7,
                "strokes": [
                    {
                        "points": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
                        "color": [0.7, 0.8, 0.9],
                        "thickness": 0.05,
                        "opacity": 1.0,
                        "pressure": [0.0, 0.3],
                        "brush": 1,
                    }
                ],
            }
        ],
    }
    assert '{"points": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], "color": [0.7, 0.8, 0.9], "thickness": 0.05' in text


NAN = np.full((2, 3, STROKE_SIZE), np.nan, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "height"),
        ({"channels": 2}, "channels"),
        ({"background": (0, 1)}, "background has 2 values: give 3"),
        ({"background": (0, 1, 256)}, r"background\.2"),
        ({"render_scale": 0}, "render_scale"),
        ({"brushes": (BRUSH_1, {"size": float("nan")})}, "brush is not JSON"),
        ({"brushes": (BRUSH_1, {"size": Path()})}, "brush is not JSON"),
        ({"brushes": ()}, "brushes: .* at least 1 item"),
        ({"brushes": (BRUSH_1,)}, "a brush other than 0 to 0: add its brush"),
        (
            {"strokes": fully_pressed(np.zeros((2, 3, 11), np.float32)) + np.float32([0] * BRUSH + [0.5])},
            "a brush other than 0 to 1",
        ),
        ({"strokes": NAN}, "outside 0..1"),
        ({"strokes": NAN * 0 + np.float32(1.001)}, "outside 0..1"),
        ({"strokes": np.zeros((2, 3, STROKE_SIZE))}, "float64"),
        ({"strokes": np.zeros((2, 0, STROKE_SIZE), np.float32)}, "not empty"),
        ({"strokes": np.zeros((2, 3, 11), np.float32)}, r"give \(N, T, 14\)"),
        ({"strokes": np.zeros((2, 500_001, STROKE_SIZE), np.float32)}, "1000002 strokes: split"),
        ({"seeds": np.zeros(3, np.int64)}, "seeds"),
        ({"seeds": np.zeros(2)}, "seeds"),
    ],
)
def test_fields_are_checked(change, message):
    with pytest.raises(GarlError, match=message):
        replace(example(), **change)


def document() -> dict:
    """A valid file as JSON reads it, no part of it shared."""
    stroke = {"points": [[0, 1]] * 3, "color": [0, 0.5, 1], "thickness": 0.1, "opacity": 1, "pressure": [1, 0.25]}
    stroke["brush"] = 1
    paintings = [{"seed": seed, "strokes": [stroke] * 2} for seed in range(2)]
    header = {name: getattr(example(), name) for name in FIELDS}
    return json.loads(json.dumps({"schema": "garl-strokes/2", **header, "paintings": paintings}))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["schema"], "garl-strokes/4", "schema: Input should be .* or 'garl-strokes/3'"),
        (["schema"], "garl-strokes/1", "version 1 has one `brush`, later ones a list of `brushes`"),
        (["brush"], {}, "version 1 has one `brush`, later ones a list of `brushes`"),
        (["brushes"], [], r"brushes: .* at least 1 item"),
        (["brushes"], [{}] * 65, r"brushes: .* at most 64 items"),
        (["paintings", 1, "strokes", 0, "brush"], 2, "a brush other than 0 to 1: add its brush"),
        (["paintings", 1, "strokes", 0, "brush"], 0.5, r"strokes\.0\.brush: "),
        (["paintings", 1, "strokes", 0, "pressure"], [0, 1.5], r"strokes\.0\.pressure\.1: "),
        (["surprise"], 1, "surprise: Extra inputs are not permitted"),
        (["height"], True, "height: Input should be a valid integer"),
        (["paintings", 1, "strokes", 0, "points", 2, 1], 1.5, r"paintings\.1\.strokes\.0\.points\.2\.1: .* equal to 1"),
        (["paintings", 0, "strokes", 1, "opacity"], float("nan"), r"strokes\.1\.opacity"),
        (["paintings", 0, "strokes", 1, "color"], [0.5], r"color\.1: Field required"),
        (["paintings", 0, "seed"], 2**63, r"paintings\.0\.seed"),
        (["paintings", 0, "strokes"], [], r"paintings have \[0, 2\] strokes: give at least one, all equally long"),
        (["paintings"], [], r"paintings have \[\] strokes"),
    ],
)
def test_a_file_with_one_wrong_value(path, place, value, message):
    broken = document()
    *parents, last = place
    holder = broken
    for step in parents:
        holder = holder[step]
    holder[last] = value
    path.write_text(json.dumps(broken))
    with pytest.raises(GarlError, match=message):
        StrokeFile.load(path)


def test_files_of_version_1_load(path):
    old = document() | {"schema": "garl-strokes/1", "brush": BRUSH_1}
    del old["brushes"]
    for painting in old["paintings"]:
        painting["strokes"] = [
            {"points": [[0, 1]] * 3, "color": [0, 0.5, 1], "thickness": 0.125, "opacity": 1} for _ in range(2)
        ]
    path.write_text(json.dumps(old))
    loaded = StrokeFile.load(path)
    assert loaded.brushes == (BRUSH_1,)
    assert loaded.strokes[1, 1].tolist() == [0, 1, 0, 1, 0, 1, 0, 0.5, 1, 0.125, 1, 1, 1, 0]
    del old["brush"]
    path.write_text(json.dumps(old))
    with pytest.raises(GarlError, match="version 1 has one `brush`"):
        StrokeFile.load(path)


def test_size_limits(path, monkeypatch, tmp_path):
    example().save(path)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(GarlError, match="more than 100 bytes"):
        StrokeFile.load(path)
    with pytest.raises(GarlError, match="would exceed"):
        example().save(tmp_path / "large.json")
    assert not (tmp_path / "large.json").exists()


@pytest.mark.parametrize("place", ["background", "paintings", "strokes"])
def test_a_million_mistakes_are_told_by_the_first(path, place):
    broken = document()
    (broken["paintings"][0] if place == "strokes" else broken)[place] = [-1] * 10**6
    path.write_text(json.dumps(broken))
    with pytest.raises(GarlError, match=rf"{place}\.0: ") as caught:
        StrokeFile.load(path)
    assert caught.value.__cause__.error_count() == 1


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(GarlError, match="not a plain file"):
        StrokeFile.load(tmp_path / "pipe.json")


@pytest.mark.parametrize("name", ["missing.json", ".", "a\0b"])
def test_unreadable_places(tmp_path, name):
    with pytest.raises(GarlError, match="cannot read"):
        StrokeFile.load(f"{tmp_path}/{name}")


def load_or_refuse(path: Path, content: bytes) -> None:
    """Anything but a valid file or a GarlError fails the test."""
    path.write_bytes(content)
    try:
        loaded = StrokeFile.load(path)
    except GarlError:
        return
    loaded.save(path)
    assert StrokeFile.load(path).strokes.tobytes() == loaded.strokes.tobytes()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def test_the_document_that_the_tests_below_break_is_valid(path):
    path.write_text(json.dumps(document()))
    loaded = StrokeFile.load(path)
    assert loaded.strokes[1, 1].tolist() == [0, 1, 0, 1, 0, 1, 0, 0.5, 1, np.float32(0.1), 1, 1, 0.25, 1]
    assert loaded.seeds.tolist() == [0, 1]


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_fuzz_with_anything(path, content):
    load_or_refuse(path, content)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_fuzz_with_a_valid_file_changed_in_one_place(path, data):
    changed = document()
    holder = changed
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], (dict, list)) or not holder[key] or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(anything)
    load_or_refuse(path, json.dumps(changed).encode())


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 700), patch=st.binary(min_size=1, max_size=4))
def test_fuzz_with_a_valid_file_damaged_in_some_bytes(path, position, patch):
    content = json.dumps(document()).encode()
    load_or_refuse(path, content[:position] + patch + content[position + len(patch) :])


@pytest.mark.parametrize("bomb", ["[" * 100_000, "[" * 900 + "]" * 900, "1" + "0" * 5000, "1e999", "NaN"])
@pytest.mark.parametrize("place", ['"line"', "20"])
def test_bombs_are_refused(path, place, bomb):
    path.write_text(json.dumps(document()).replace(place, bomb, 1))
    with pytest.raises(GarlError):
        StrokeFile.load(path)


def begun() -> StrokeFile:
    rng = np.random.default_rng(1)
    return replace(
        example(1), canvas=rng.integers(0, 256, (3, 20, 30), np.uint8), free=rng.random((20, 30)) < 0.5, free_from=2
    )


@pytest.mark.parametrize("absent", [(), ("canvas",), ("free",), ("canvas", "free")])
def test_a_canvas_that_was_begun_and_its_mask_return(path, absent):
    saved = replace(begun(), **dict.fromkeys(absent))
    saved.save(path)
    assert json.loads(path.read_text())["schema"] == f"garl-strokes/{2 if len(absent) == 2 else 3}"
    loaded = StrokeFile.load(path)
    for name in ("canvas", "free"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name))
    assert len(absent) == 2 or loaded.free_from == 2


def test_a_grey_canvas_that_was_begun_returns(path):
    saved = replace(begun(), channels=1, background=(3,), canvas=begun().canvas[:1])
    saved.save(path)
    assert np.array_equal(StrokeFile.load(path).canvas, saved.canvas)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "garl-strokes/2"}, "only version 3 has a `canvas`"),
        ({"canvas": "AAAA"}, "canvas is not a picture of the file's size"),
        ({"canvas": "?"}, "canvas is not a picture of the file's size"),
        ({"height": 30, "width": 20}, "30×20 pixels instead of 20×30"),
        ({"free_from": 4}, "free_from is 4: give 0 to 3"),
        ({"free_from": -1}, "free_from"),
    ],
)
def test_a_damaged_beginning_is_refused(path, change, says):
    begun().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(GarlError, match=says):
        StrokeFile.load(path)


@pytest.mark.parametrize("wrong", [{"canvas": np.zeros((1, 20, 30), np.uint8)}, {"free": np.zeros((20, 30), np.uint8)}])
def test_a_beginning_of_another_kind_is_refused(wrong):
    with pytest.raises(GarlError, match=f"{next(iter(wrong))} is .*: give"):
        replace(example(), **wrong)
