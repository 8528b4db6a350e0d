"""Painters measured on pictures that none of them has seen: how near they come, against strokes and seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from garl.atomic import writing
from garl.brush.spec import Brush
from garl.data.decode import SUFFIXES
from garl.data.images import load
from garl.errors import GarlError
from garl.evaluate.features import Features, perceptual_distance
from garl.evaluate.pixels import mean_squared_error
from garl.evaluate.ssim import ssim
from garl.export.curves import Panel, draw_panels, load_figure
from garl.export.picture import captioned, grid, save_png
from garl.machine import use_threads
from garl.paint_picture import Painting, paint_picture, read_picture
from garl.painters import TRAINED, Artist, choose_painter

PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
"""Of those that ship with scikit-image, photos in the public domain."""
MEASURES = {"error": "mean squared error", "ssim": "structural similarity", "perceptual": "perceptual distance"}


class Trial(NamedTuple):
    """One painting, and how near it came."""

    picture: str
    painter: str
    allowed: int  # strokes that it might have used
    limit: float | None  # seconds that it might have searched
    strokes: int
    seconds: float  # CPU time of this process, replay included
    error: float  # mean squared, 0..1
    ssim: float  # 1: the same
    perceptual: float  # 0: the same


def photos() -> list[str]:
    """The files of `PHOTOS`. Raises GarlError if scikit-image is not installed."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise GarlError("which pictures: name files or sets of pictures, or pip install scikit-image for its photos")
    return [str(Path(package.origin).parent / "data" / name) for name in PHOTOS]


def read_pictures(sources: Sequence[str], side: int, each: int) -> dict[str, np.ndarray]:
    """Pictures (3, side, side) uint8 by name: of files, and the first `each` held-out ones of sets of pictures."""
    found: dict[str, np.ndarray] = {}
    for source in sources:
        path = Path(source)
        if path.suffix.lower() in SUFFIXES:
            pixels, _ = read_picture(path)
            fitted = ImageOps.fit(Image.fromarray(pixels.transpose(1, 2, 0)), (side, side))
            found[path.stem] = np.ascontiguousarray(np.asarray(fitted).transpose(2, 0, 1))
        else:
            held_out = load(source, size=(side, side), channels=3, split="test", limit=each)
            found |= {f"{path.stem} {i}": np.array(picture) for i, picture in enumerate(held_out.array)}
    return found


def choose_artists(words: Sequence[str], brush: Brush | None) -> dict[str, Artist]:
    """Painters by what they are called: a name, with the brush; or with the run folder of one that is trained, as
    neural=RUN."""
    artists = {}
    for word in words:
        name, _, run = word.partition("=")
        artists[word] = choose_painter(name, Path(run) if run else None, None if name in TRAINED else brush)
    return artists


def compare(
    pictures: Mapping[str, np.ndarray],
    artists: Mapping[str, Artist],
    strokes: Sequence[int],
    seconds: Sequence[float],
    features: Features,
    seed: int = 0,
) -> Iterator[tuple[Trial, np.ndarray]]:
    """Every painter's painting (3, H, W) uint8 of every picture: with each number of strokes and all the time that it
    wants, and with the largest number in each of the seconds."""
    for artist in artists.values():
        with suppress(GarlError):  # a painter of lines finds none here; what it needs is compiled all the same
            _paint(artist, np.zeros((3, 32, 32), np.uint8), max(strokes), seed, 0.1)
    budgets = [(count, None) for count in strokes] + [(max(strokes), limit) for limit in seconds]
    for (name, target), (count, limit), (who, artist) in product(pictures.items(), budgets, artists.items()):
        started = time.process_time()
        painting = _paint(artist, target, count, seed, limit)
        spent = time.process_time() - started
        canvas, laid = painting.picture, painting.strokes.strokes.shape[1]
        looks = perceptual_distance(canvas, target, features)
        figures = mean_squared_error(canvas, target), ssim(canvas, target), looks
        yield Trial(name, who, count, limit, laid, spent, *figures), canvas


def follow(
    found: Iterator[tuple[Trial, np.ndarray]], pictures: Mapping[str, np.ndarray], most: int, out: Path | None
) -> list[Trial]:
    """The trials that `compare` finds, told as they come; with a folder `out`, their curves, and the paintings of at
    most `most` strokes side by side, are drawn there."""
    if out is not None:
        load_figure()  # what is missing must be found before the work is done
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    use_threads(1)
    trials, shown = [], {}
    for trial, painting in found:
        print(f"{trial.picture}, {trial.painter}, {trial.strokes:,}: error {trial.error:.5f}", file=sys.stderr)
        trials.append(trial)
        if trial.limit is None and trial.allowed == most:
            shown[trial.picture, trial.painter] = painting
    if out is not None:
        draw_curves(trials, out / "painters.svg")
        draw_sheet(pictures, shown, out / "painters.png")
    return trials


def _paint(artist: Artist, target: np.ndarray, count: int, seed: int, limit: float | None) -> Painting:
    painter, brush, paper, own, _ = artist
    return paint_picture(target, count, brush, painter, paper, seed, seconds=limit, own_colors=own)


def table(trials: Sequence[Trial]) -> str:
    """Markdown: the mean over the pictures of every painter with every budget."""
    lines = ["| painter | strokes | CPU seconds | error | SSIM | perceptual |", "|---|---:|---:|---:|---:|---:|"]
    for (who, count, limit), found in _grouped(trials).items():
        used, spent, error, alike, looks = (
            np.mean([getattr(trial, name) for trial in found])
            for name in ("strokes", "seconds", "error", "ssim", "perceptual")
        )
        told = f"{count:,}" if limit is None else f"{used:,.0f} in {limit:g} s"
        lines.append(f"| {who} | {told} | {spent:.1f} | {error:.6f} | {alike:.3f} | {looks:.3f} |")
    return "\n".join(lines)


def draw_curves(trials: Sequence[Trial], path: Path) -> None:
    """Every measure against strokes and seconds: a line for each painter's median and a band for its range."""
    free = [trial for trial in trials if trial.limit is None]
    limited = [trial for trial in trials if trial.limit is not None] or free
    rows = []
    for measure, ordinate in MEASURES.items():
        scales = "log", "linear" if measure == "ssim" else "log"
        by_strokes, by_seconds = _lines(free, "strokes", measure), _lines(limited, "seconds", measure)
        rows.append(
            [Panel("strokes", ordinate, by_strokes, scales), Panel("CPU seconds", ordinate, by_seconds, scales)]
        )
    draw_panels(rows, path)


def _lines(trials: Sequence[Trial], abscissa: str, measure: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each painter the median abscissa of its budgets (M,) and the measure of each picture (pictures, M)."""
    lines = {}
    for who in dict.fromkeys(trial.painter for trial in trials):
        budgets = [found for (painter, *_), found in _grouped(trials).items() if painter == who]
        x = np.array([np.median([getattr(trial, abscissa) for trial in found]) for found in budgets])
        y = np.array([[getattr(trial, measure) for trial in found] for found in budgets]).T
        order = x.argsort()
        lines[who] = x[order], y[:, order]
    return lines


def _grouped(trials: Sequence[Trial]) -> dict[tuple[str, int, float | None], list[Trial]]:
    """The trials of each painter with each budget, painter by painter."""
    keys = dict.fromkeys((trial.painter, trial.allowed, trial.limit) for trial in trials)
    order = sorted(keys, key=lambda key: (key[2] is not None, key[2] or key[1], key[0]))
    return {key: [trial for trial in trials if (trial.painter, trial.allowed, trial.limit) == key] for key in order}


def draw_sheet(pictures: Mapping[str, np.ndarray], paintings: Mapping[tuple[str, str], np.ndarray], path: Path) -> None:
    """A row for each picture: the target, and beside it the painting of each painter; keys are picture and painter."""
    painters = list(dict.fromkeys(who for _, who in paintings))
    rows = [[target, *(paintings[name, who] for who in painters)] for name, target in pictures.items()]
    sheet = grid(np.stack([picture for row in rows for picture in row]), columns=1 + len(painters))
    save_png(path, captioned(sheet, "   ".join(["from left to right: target", *painters])))
