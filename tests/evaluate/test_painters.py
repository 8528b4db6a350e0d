"""Painters side by side: who painted what, how near it came, and what the table and the curves make of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garl import cli
from garl.brush.spec import load_brush
from garl.commission import Commission
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.errors import GarlError
from garl.evaluate.features import load_features
from garl.evaluate.painters import Trial, _lines, compare, draw_curves, draw_sheet, read_pictures, table
from garl.painters import Artist
from garl.types import Ground


def one_colour(asked: Commission) -> np.ndarray:
    """As many thick strokes as it may paint, or one if it is in a hurry, all across the top."""
    strokes = np.ones((1 if asked.seconds else asked.count, 14), np.float32)
    strokes[:, :6], strokes[:, 9], strokes[:, 13] = (0.0, 0.1, 0.5, 0.1, 1.0, 0.1), 0.2, 0.0
    return strokes


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    """What two strokes of `one_colour` paint, in red."""
    canvas, brush = np.full((1, 3, 40, 40), 255, np.uint8), PreparedBrushes(load_brush("hard_round"))
    white = Ground.blank(canvas[0, :, 0, 0], (40, 40))
    strokes = one_colour(Commission(canvas[0], white, 2, load_brush("hard_round")))
    strokes[:, 7:9] = 0.0
    for i in range(2):
        render_strokes(canvas, strokes[i : i + 1], np.array([0]), i, brush)
    return canvas[0]


def test_every_painter_paints_every_picture_with_every_budget(target: np.ndarray) -> None:
    pictures = {"red": target, "white": np.full_like(target, 255)}
    artist = Artist(one_colour, load_brush("hard_round"), (255, 255, 255))
    trials, paintings = zip(
        *compare(pictures, {"a": artist, "b": artist}, (1, 2), (9.0,), load_features()), strict=True
    )
    assert [(t.picture, t.allowed, t.limit, t.painter) for t in trials[:6]] == [
        ("red", count, limit, who) for count, limit in ((1, None), (2, None), (2, 9.0)) for who in "ab"
    ]
    assert [t.strokes for t in trials[:6]] == [1, 1, 2, 2, 1, 1]
    assert len(trials) == 12
    two = trials[2]
    assert (two.error, two.ssim, two.perceptual) == pytest.approx((0.0, 1.0, 0.0), abs=2e-2)
    assert two.error < trials[0].error / 2
    assert paintings[2].shape == (3, 40, 40)


def test_a_painter_that_draws_only_what_has_lines_is_measured_on_drawings(target: np.ndarray) -> None:
    def draw(asked: Commission) -> np.ndarray:
        if asked.target.max() == asked.target.min():
            raise GarlError("nothing to draw")
        return one_colour(asked)

    artist = Artist(draw, load_brush("hard_round"), (255, 255, 255))
    assert len(list(compare({"red": target}, {"a": artist}, (1,), (), load_features()))) == 1
    with pytest.raises(GarlError, match="nothing to draw"):
        list(compare({"white": np.full_like(target, 255)}, {"a": artist}, (1,), (), load_features()))


TRIALS = [
    Trial("x", "a", 10, None, 10, 1.0, 0.04, 0.5, 0.3),
    Trial("y", "a", 10, None, 10, 3.0, 0.02, 0.7, 0.1),
    Trial("x", "a", 1000, None, 900, 7.0, 0.01, 0.8, 0.05),
    Trial("y", "a", 1000, None, 1000, 9.0, 0.01, 0.8, 0.05),
    Trial("x", "a", 1000, 2.5, 30, 2.0, 0.015, 0.6, 0.2),
    Trial("y", "a", 1000, 2.5, 50, 2.0, 0.015, 0.6, 0.2),
]


def test_the_table_holds_means_over_the_pictures() -> None:
    assert table(TRIALS).splitlines()[2:] == [
        "| a | 10 | 2.0 | 0.030000 | 0.600 | 0.200 |",
        "| a | 1,000 | 8.0 | 0.010000 | 0.800 | 0.050 |",
        "| a | 40 in 2.5 s | 2.0 | 0.015000 | 0.600 | 0.200 |",
    ]


def test_lines_go_from_left_to_right() -> None:
    x, y = _lines(TRIALS[::-1], "seconds", "error")["a"]
    assert x.tolist() == [2.0, 2.0, 8.0]
    assert sorted(y[:, 0].tolist() + y[:, 1].tolist()) == [0.015, 0.015, 0.02, 0.04]
    assert y[:, 2].tolist() == [0.01, 0.01]


def test_curves_and_sheet(tmp_path: Path, target: np.ndarray) -> None:
    draw_curves(TRIALS, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert text.count('id="axes_') == 6
    draw_sheet({"red": target}, {("red", "a"): 255 - target, ("red", "b"): target}, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert np.array_equal(sheet[-42:-2, 44:84], 255 - target.transpose(1, 2, 0))


def test_files_and_held_out_pictures_of_sets(tmp_path: Path) -> None:
    Image.new("RGB", (60, 30), (9, 90, 200)).save(tmp_path / "blue.png")
    pictures = read_pictures([str(tmp_path / "blue.png"), "digits"], 20, 3)
    assert list(pictures) == ["blue", "digits 0", "digits 1", "digits 2"]
    assert all(each.shape == (3, 20, 20) for each in pictures.values())
    assert pictures["blue"][:, 10, 10].tolist() == [9, 90, 200]


def test_the_command(
    tmp_path: Path, target: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(target.transpose(1, 2, 0)).save(tmp_path / "red.png")
    words = ["garl", "evaluate", "paint", str(tmp_path / "red.png"), "--strokes", "3", "--side", "24", "--json"]
    monkeypatch.setattr(sys, "argv", [*words, "--painters", "greedy", "--seconds", "0.1", "--out", str(tmp_path)])
    cli.main()
    trials = json.loads(capsys.readouterr().out)
    assert [(t["picture"], t["painter"], t["limit"]) for t in trials] == [
        ("red", "greedy", None),
        ("red", "greedy", 0.1),
    ]
    assert trials[0]["strokes"] == 3
    assert 0 < trials[0]["error"] < 0.1
    assert (tmp_path / "painters.svg").exists()
    assert (tmp_path / "painters.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("red.png --painters blind", "'blind' is not a painter"),
        ("red.png --painters neural", "go together"),
        ("red.png --painters neural=nowhere", "there is no run folder nowhere"),
        ("red.png --strokes 0", "--strokes are at least 1"),
        ("red.png --side 2", "--side is from 16"),
        ("nowhere", "there is no data 'nowhere'"),
        ("nowhere.png", "cannot read the picture nowhere.png"),
    ],
)
def test_mistakes_are_one_sentence(words: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GarlError, match=says):
        cli.evaluate(["paint", *words.split()])
