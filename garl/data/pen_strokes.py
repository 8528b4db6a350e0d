"""Drawings as a pen made them: the strokes of Omniglot (Lake, Salakhutdinov and Tenenbaum 2015), in a zip or a folder.

Each drawing is a text in `ALPHABET/characterNN/NUMBER_DRAWER.txt`: START, then a line "x,y,t" for each point of the
pen's way, and BREAK where the pen is lifted. x is 0..105, rightwards; y is 0..−105, downwards; t counts milliseconds.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from garl.data.limits import check_count, check_unpacked
from garl.data.sources import blaming, zip_bytes
from garl.errors import GarlError
from garl.reading import read_plain

SIDE = 105.0
"""Of Omniglot's canvas; a few points lie beyond its edge, and are moved to it."""
MAX_BYTES = 1 << 20
"""Of one drawing; the longest of Omniglot's has some 20,000."""
MAX_POINTS = 10_000_000
"""In all drawings; Omniglot's 32,460 have about half as many."""
HELD_OUT = 0.1
"""Of the drawers."""

Drawing = tuple[np.ndarray, ...]
"""Strokes: the ways (N, 2) float32 of the pen between two lifts, x and y as fractions of the canvas."""

_NAME = re.compile(r"(?:^|/)character\d+/\d+_(\d+)\.txt$")


def holds_drawings(path: Path) -> bool:
    """Whether `path` is a folder or a zip of drawings. Raises GarlError if it is a damaged zip."""
    if not os.path.isdir(path) and not (os.path.isfile(path) and path.suffix.lower() == ".zip"):  # these never raise
        return False
    with _texts(path) as texts:
        return bool(texts)


def load_drawings(path: Path, split: str) -> list[Drawing]:
    """The drawings at `path` for "train" or "test": those of the last tenth of the drawers, by number, are held out. Of
    a single drawer's, both splits are everything. Raises GarlError if they cannot be read, or go beyond the limits."""
    drawings, points = [], 0
    with _texts(path) as texts:
        drawers = sorted({_drawer(name) for name in texts})
        last = drawers[-max(1, round(HELD_OUT * len(drawers))) :] if len(drawers) > 1 else drawers
        for name, read in texts.items():
            if len(drawers) > 1 and (_drawer(name) in last) != (split == "test"):
                continue
            drawings.append(parse(read().decode(errors="replace"), f"{path}/{name}"))
            points += sum(len(stroke) for stroke in drawings[-1])
            if points > MAX_POINTS:
                raise GarlError(f"{path} holds more than {MAX_POINTS:,} points: take a part of the drawings")
    if not drawings:
        raise GarlError(f"{path} holds no drawings: name a zip or folder with Omniglot's strokes")
    return drawings


def parse(text: str, name: str) -> Drawing:
    """The strokes that a text describes. Raises GarlError, which calls it `name`, if it is no drawing."""
    strokes: list[list[tuple[float, float]]] = [[]]
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip()
        if word == "BREAK":
            strokes.append([])
        elif word not in ("", "START"):
            try:
                x, y, _ = (float(each) for each in word.split(","))
            except ValueError:
                x = y = math.nan
            if not (math.isfinite(x) and math.isfinite(y)):
                raise GarlError(
                    f'line {number} of {name} is neither "x,y,t" nor START nor BREAK: get the drawings again'
                )
            strokes[-1].append((x, -y))
    ways = tuple((np.clip(stroke, 0.0, SIDE) / SIDE).astype(np.float32) for stroke in strokes if stroke)
    if not ways:
        raise GarlError(f"{name} has no points: get the drawings again")
    return ways


@contextmanager
def _texts(path: Path) -> Iterator[dict[str, Callable[[], bytes]]]:
    """What reads each drawing, by name, in order."""
    if path.is_dir():
        files = sorted(Path(root, name) for root, _, names in os.walk(path) for name in names)
        named = {file.relative_to(path).as_posix(): file for file in files}
        try:
            yield {name: partial(read_plain, file, MAX_BYTES) for name, file in named.items() if _is_drawing(name)}
        except OSError as error:
            raise GarlError(f"a drawing in {path} cannot be read ({error}): mend or remove it") from error
        return
    with blaming(path), zipfile.ZipFile(path) as archive:
        members = {each.filename: each for each in archive.infolist() if _is_drawing(each.filename)}
        check_count(path, len(members))
        check_unpacked(path, sum(member.file_size for member in members.values()))
        yield {name: partial(zip_bytes, archive, members[name], MAX_BYTES) for name in sorted(members)}


def _is_drawing(name: str) -> bool:
    return bool(_NAME.search(name)) and not name.startswith("__MACOSX/")


def _drawer(name: str) -> int:
    found = _NAME.search(name)
    assert found, "only drawings are listed"
    return int(found[1])
