"""Strokes of a file painted anew: the same picture at any size, and every change that was asked for, alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from garl.brush.geometry import BRUSH, COLOR, END_PRESSURE, POINTS, START_PRESSURE, THICKNESS
from garl.brush.spec import load_brush
from garl.errors import GarlError
from garl.export.strokefile import StrokeFile
from garl.paint_picture import paint_picture
from garl.replay import replay


def target(height: int, width: int) -> np.ndarray:
    y, x = np.indices((height, width))
    return np.stack([x * 200 // width, y * 250 // height, 255 * ((x - 20) ** 2 + (y - 20) ** 2 < 200)]).astype(np.uint8)


def strokefile(brushes: tuple[str, ...] = ("splatter",), channels: int = 3, scale: int = 1) -> StrokeFile:
    """Two paintings of 12 strokes, 50 wide and 30 high."""
    rows = np.random.default_rng(5).uniform(0.05, 0.6, (2, 12, 14)).astype(np.float32)
    rows[..., BRUSH] = np.arange(12) % len(brushes)
    ground = (250, 240, 30)[:channels]
    kept = tuple(load_brush(name).to_dict() for name in brushes)
    return StrokeFile(30, 50, channels, ground, kept, scale, rows, np.array([3, 4]))


def averaged_down(picture: np.ndarray, times: int) -> np.ndarray:
    channels, height, width = picture.shape
    return picture.reshape(channels, height // times, times, width // times, times).mean((2, 4))


@pytest.mark.parametrize(
    ("brush", "shape"), [("hard_round", (48, 48)), ("hard_round", (40, 64)), ("charcoal", (40, 64))]
)
def test_four_times_the_size_averages_to_the_same_picture(brush: str, shape: tuple[int, int]) -> None:
    painting = paint_picture(target(*shape), 20, load_brush(brush), seconds=0.5)
    large = replay(painting.strokes, size=4 * max(shape)).picture
    assert large.shape == (3, 4 * shape[0], 4 * shape[1])
    assert np.abs(averaged_down(large, 4) - painting.picture).mean() < 2
    assert painting.picture.std() > 10


def test_nothing_asked_for_is_as_painted() -> None:
    file = strokefile(("splatter", "ink"), scale=2)
    painting = replay(file, 1)
    assert painting.strokes.seeds.tolist() == [4]
    assert np.array_equal(painting.strokes.strokes[0], file.strokes[1])
    assert painting.strokes.brushes == file.brushes
    assert painting.picture.shape == (3, 30, 50)
    assert painting.error is None
    other = replay(replace(file, seeds=file.seeds + 1), 1)
    assert not np.array_equal(other.picture, painting.picture)  # the jitter is the painting's own


def test_what_is_painted_larger_needs_no_larger_render_scale() -> None:
    for size, scale in ((100, 4), (50, 8), (51, 8), (20, 8), (401, 1)):
        assert replay(strokefile(scale=8), size=size).strokes.render_scale == scale


def test_grey_paintings_stay_grey(tmp_path) -> None:  # type: ignore[no-untyped-def]
    painting = replay(strokefile(channels=1), palette="2")
    assert painting.picture.shape == (1, 30, 50)
    assert len(np.unique(painting.strokes.strokes[0, :, COLOR])) == 2
    for name in ("a.png", "a.gif", "a.svg", "a.gcode"):
        painting.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100


def test_each_change_alone() -> None:
    file = strokefile()
    rows = file.strokes[0]

    def changed(**what) -> np.ndarray:  # type: ignore[no-untyped-def]
        return replay(file, **what).strokes.strokes[0]

    assert np.array_equal(changed(count=5), rows[:5])
    assert np.array_equal(changed(smallest=0.2, largest=0.3)[:, THICKNESS], rows[:, THICKNESS].clip(0.2, 0.3))
    sorted_ = changed(order="coarse-to-fine")
    assert np.array_equal(np.sort(sorted_, 0), np.sort(rows, 0))
    assert (np.diff(sorted_[:, THICKNESS] * sorted_[:, [START_PRESSURE, END_PRESSURE]].max(1)) <= 0).all()
    lines = changed(brush=load_brush("line"))
    assert np.array_equal(lines[:, 2:4], rows[:, 4:6])
    few = changed(palette="3")
    assert len(np.unique(few[:, COLOR], axis=0)) == 3
    assert np.array_equal(few[:, POINTS], rows[:, POINTS])


def test_mistakes() -> None:
    with pytest.raises(GarlError, match="no painting 2: choose 0 to 1"):
        replay(strokefile(), 2)
    with pytest.raises(GarlError, match=r"0\.5 and 0\.2 do not"):
        replay(strokefile(), smallest=0.5, largest=0.2)
    with pytest.raises(GarlError, match="types line and triangle"):
        replay(strokefile(("line", "triangle")), order="region")
    with pytest.raises(GarlError, match="give a --size of at most 16,384"):
        replay(strokefile(), size=99_999)
    with pytest.raises(GarlError, match="give a --size of at most 256"):
        replay(replace(strokefile(scale=64), height=512, width=512))
    with pytest.raises(GarlError, match="`texture` is missing"):
        replay(replace(strokefile(), brushes=({"name": "odd"},)))


def test_a_painting_that_was_gone_on_from_keeps_its_canvas_and_its_mask() -> None:
    """The first four strokes do not keep to the mask, and no order lays them after those that do."""
    rng, free = np.random.default_rng(2), np.zeros((30, 50), np.bool_)
    free[:, :20] = True
    begun = rng.integers(0, 256, (3, 30, 50), np.uint8)
    file = replace(strokefile(), canvas=begun, free=free, free_from=4)
    for count, first in ((None, 4), (3, 3)):
        painting = replay(file, order="region", count=count)
        rows = painting.strokes.strokes[0]
        assert painting.strokes.free_from == first
        assert np.array_equal(np.sort(rows[:first], 0), np.sort(file.strokes[0, :first], 0))
        assert not np.array_equal(rows, file.strokes[0, :count])
    large = replay(file, size=100)
    assert large.strokes.canvas is not None
    assert np.array_equal(large.strokes.canvas, begun.repeat(2, 1).repeat(2, 2))
    assert np.abs(averaged_down(large.picture, 2) - replay(file).picture).mean() < 5
    few = replay(replace(file, free_from=0), size=100).picture
    assert np.array_equal(few[:, :, 40:], large.strokes.canvas[:, :, 40:])


def test_strokes_of_brushes_of_two_types_are_laid_as_painted() -> None:
    file = strokefile(("line", "triangle"))
    assert np.array_equal(replay(file, size=100).strokes.strokes[0], file.strokes[0])
