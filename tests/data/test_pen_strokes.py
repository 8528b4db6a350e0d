"""Omniglot's strokes, by hand: what is read, what is held out, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from garl.data import limits, pen_strokes
from garl.data.pen_strokes import holds_drawings, load_drawings, parse
from garl.errors import GarlError

TEXT = "START\n21,-42,0\n52.5,-10.5,10\nBREAK\n110,3,20\nBREAK\n"


def write(folder: Path, drawers: int, characters: int = 2) -> None:
    """Drawings whose first x tells their drawer, and whose first y their character."""
    for character in range(1, characters + 1):
        place = folder / "set" / "Greek" / f"character{character:02d}"
        place.mkdir(parents=True)
        for drawer in range(1, drawers + 1):
            (place / f"{character:04d}_{drawer:02d}.txt").write_text(f"START\r\n{drawer},-{character},0\r\nBREAK\r\n")
        (place / ".DS_Store").write_bytes(b"\0")
        (place / "notes.txt").write_text("not a drawing")


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/set/Greek/character01/0001_01.txt", "resource fork")
    return path


def who(path: Path, split: str) -> list[tuple[int, int]]:
    points = [drawing[0][0] * 105 for drawing in load_drawings(path, split)]
    return [(round(float(x)), round(float(y))) for x, y in points]


def test_a_text_becomes_ways_of_the_pen() -> None:
    first, second = parse(TEXT, "a drawing")
    np.testing.assert_allclose(first, [[0.2, 0.4], [0.5, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(second, [[1.0, 0.0]])  # beyond two edges
    assert first.dtype == second.dtype == np.float32


def test_a_folder_and_a_zip_hold_the_same_and_whole_drawers_are_held_out(tmp_path: Path) -> None:
    write(tmp_path / "folder", drawers=20)
    for path in (tmp_path / "folder", zipped(tmp_path / "folder", tmp_path / "set.zip")):
        assert holds_drawings(path)
        assert who(path, "test") == [(19, 1), (20, 1), (19, 2), (20, 2)]
        assert who(path, "train") == [(drawer, character) for character in (1, 2) for drawer in range(1, 19)]


def test_of_a_single_drawer_both_splits_are_everything(tmp_path: Path) -> None:
    write(tmp_path, drawers=1)
    assert who(tmp_path, "train") == who(tmp_path, "test") == [(1, 1), (1, 2)]


def test_pictures_are_no_drawings(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "character01/0001_01.png")
    for path in (tmp_path, tmp_path / "a.zip", tmp_path / "a.png", tmp_path / "nothing"):
        assert not holds_drawings(path)
    with pytest.raises(GarlError, match="holds no drawings"):
        load_drawings(tmp_path, "train")


@pytest.mark.parametrize(
    "line", ["1,2", "1,2,3,4", "one,2,3", "nan,1,0", "1,inf,0", "1e999,1,0", "BREAK BREAK", "\0", "9" * 5000 + ",x,0"]
)
def test_a_line_that_is_no_point_is_named(line: str) -> None:
    with pytest.raises(GarlError, match=r"^line 3 of a drawing is neither"):
        parse(f"START\n1,-1,0\n{line}\n", "a drawing")


@pytest.mark.parametrize("text", ["", "START\nBREAK\nBREAK\n"])
def test_a_drawing_without_points_is_refused(text: str) -> None:
    with pytest.raises(GarlError, match="a drawing has no points"):
        parse(text, "a drawing")


def test_sizes_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "folder", drawers=3)
    path = zipped(tmp_path / "folder", tmp_path / "set.zip")
    monkeypatch.setattr(pen_strokes, "MAX_POINTS", 3)
    for each in (tmp_path / "folder", path):
        assert len(load_drawings(each, "test")) == 2
        with pytest.raises(GarlError, match="more than 3 points"):
            load_drawings(each, "train")
    monkeypatch.setattr(pen_strokes, "MAX_BYTES", 10)
    for each in (tmp_path / "folder", path):
        with pytest.raises(GarlError, match="more than 10 bytes"):
            load_drawings(each, "test")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"character01/0001_{i:02d}.txt", bytes(1 << 20))
    with pytest.raises(GarlError, match="as only bombs do"):
        holds_drawings(tmp_path / "bomb.zip")
