"""A picture painted in strokes: from any file that holds one to the files that a painting can become."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from garl.brush.geometry import COLOR, POINTS, STROKE_SIZE, THICKNESS, fully_pressed
from garl.brush.spec import Brush
from garl.data.decode import decode
from garl.data.sources import open_picture
from garl.engine.differentiable import gap, tip_of
from garl.engine.neural import pen_of
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.errors import GarlError, printable
from garl.evaluate.pixels import mean_squared_error
from garl.export.picture import save_png
from garl.export.strokefile import StrokeFile
from garl.export.svg import save_svg
from garl.export.video import save_video
from garl.progress import PaintProgress, silent
from garl.systems.greedy import greedy
from garl.systems.refine import recolor, refine

Painter = Callable[[np.ndarray, np.ndarray, int, Brush, int, PaintProgress, float | None], np.ndarray]
"""(target (3, H, W) uint8, background (3,) uint8, strokes, brush, seed, progress, seconds) → strokes (T, 14)."""

LIKE = 0.1
"""Up to this `differentiable.gap`, refining a brush's strokes through the twin beats searching in the engine."""


def default(
    target: np.ndarray,
    background: np.ndarray,
    count: int,
    brush: Brush,
    seed: int,
    progress: PaintProgress = silent,
    seconds: float | None = None,
) -> np.ndarray:
    """The painter that suits the brush: `refine` where the twin is like the engine, else `greedy`."""
    painter = refine if gap(brush, tip_of(brush)) < LIKE else greedy
    return painter(target, background, count, brush, seed, progress, seconds)


PAINTERS: dict[str, Painter] = {"default": default, "refine": refine, "greedy": greedy}
ENDINGS = (".png", ".svg", ".mp4", ".gif", ".json")
LARGEST_SIDE = 2**15
"""Of a picture, as in stroke files."""
WORKING_SIDE = 256
"""Painters see the picture with at most as many pixels as a square of this side: strokes have no resolution."""
FILM_SIDE = 512
"""Longer side of a time-lapse at most."""
FILM_FRAMES = 150
FILM_FPS = 20.0


@dataclass(frozen=True, eq=False)
class Painting:
    """A finished painting, (3, H, W) uint8, its strokes, and its mean squared error, 0..1, at full size."""

    picture: np.ndarray
    strokes: StrokeFile
    brush: Brush
    error: float

    def save(self, path: Path) -> None:
        """Write it in the form that the ending of `path` names: a picture, vectors, a time-lapse or the strokes."""
        check_ending(path)
        ending = path.suffix.lower()
        if ending == ".png":
            save_png(path, self.picture.transpose(1, 2, 0))
        elif ending == ".svg":
            save_svg(path, self.strokes)
        elif ending == ".json":
            self.strokes.save(path)
        else:
            save_video(path, self._film(), FILM_FPS)

    def _film(self) -> Iterator[np.ndarray]:
        """At most `FILM_FRAMES` frames (h, w, 3) from the blank canvas to the painting, which is held for 1.5 s."""
        _, height, width = self.picture.shape
        shrink = min(1.0, FILM_SIDE / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        strokes = self.strokes.strokes[0]
        every = math.ceil(len(strokes) / FILM_FRAMES)
        moments = replay(strokes, self.brush, self.strokes.background, size, int(self.strokes.seeds[0]))
        for i, canvas in enumerate(moments):
            if i % every == 0 or i == len(strokes):
                yield canvas.transpose(1, 2, 0).copy()
        for _ in range(round(1.5 * FILM_FPS)):
            yield canvas.transpose(1, 2, 0).copy()


def check_ending(path: Path) -> None:
    """Raise GarlError unless `path` ends like a file that a painting can become."""
    if path.suffix.lower() not in ENDINGS:
        raise GarlError(f"{path} ends in {path.suffix or 'nothing'}: use one of {', '.join(ENDINGS)}")


def parse_color(text: str) -> tuple[int, int, int]:
    """Red, green, blue in 0..255 of a colour's name or its #rrggbb."""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise GarlError(f"{text!r} is not a colour: give a name as white, or #rrggbb") from None


def read_picture(path: Path, background: tuple[int, int, int] = (255, 255, 255)) -> tuple[np.ndarray, int]:
    """The picture in a file, (3, H, W) uint8, upright, on the background; and how many frames the file holds.

    Of several frames the first is read. Raises GarlError alone, whatever the file holds.
    """
    try:
        with open_picture(path) as image:
            frames = getattr(image, "n_frames", 1)
            pixels = decode(image, None, 3, background)
    except OSError as error:
        raise GarlError(f"cannot read the picture {path} ({_reason(error)}): see that it is whole and yours") from error
    except Exception as error:  # Pillow meets damaged bytes with exceptions of nearly every kind
        raise GarlError(
            f"{path} cannot be read as a picture ({_reason(error)}): save it anew, as PNG or JPEG"
        ) from error
    _, height, width = pixels.shape
    if max(height, width) > LARGEST_SIDE:
        raise GarlError(f"{path} is {width}×{height} pixels: make its sides at most {LARGEST_SIDE:,}")
    return pixels, frames


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split()) or type(error).__name__)


def paint_picture(
    target: np.ndarray,
    count: int,
    brush: Brush,
    painter: Painter = default,
    background: tuple[int, int, int] = (255, 255, 255),
    seed: int = 0,
    progress: PaintProgress = silent,
    seconds: float | None = None,
) -> Painting:
    """Paint `target` (3, H, W) uint8 in at most `count` strokes; the painter sees it small, the engine paints it full.

    With `seconds` a painter stops searching after about that time; without, the same seed gives the same painting.
    """
    _, height, width = target.shape
    paper, small = np.array(background, np.uint8), _reduced(target)
    strokes = painter(small, paper, count, brush, seed, progress, seconds)
    assert strokes.shape[1] == STROKE_SIZE
    assert 1 <= len(strokes) <= count
    strokes = recolor(strokes, small, paper, brush, seed)
    *_, picture = replay(strokes, brush, background, (height, width), seed)
    file = StrokeFile(
        height=height,
        width=width,
        channels=3,
        background=background,
        brushes=(brush.to_dict(),),
        render_scale=1,
        strokes=strokes[None],
        seeds=np.array([seed], np.int64),
    )
    return Painting(picture, file, brush, mean_squared_error(picture, target))


def pixelated(painting: Painting, target: np.ndarray, cells: int, colors: int) -> Painting:
    """The painting as pixel art: squares of whole pixels, `cells` on the shorter side, in at most `colors` colours
    (median cut). Its sides become multiples of a square's; `target` (3, H, W) is what it is compared with.

    Its strokes are square dabs, whose edges the engine softens: the picture is not painted by them, but just so.
    Raises GarlError if there are fewer pixels than squares.
    """
    _, height, width = target.shape
    if min(height, width) < cells:
        raise GarlError(f"a picture of {width}×{height} pixels has no {cells} squares a side: set --cells to fewer")
    side = min(height, width) // cells
    rows, columns = round(height / side), round(width / side)
    file = painting.strokes
    few = _resized(painting.picture, columns, rows).quantize(colors, dither=Image.Dither.NONE).convert("RGB")
    y, x = np.indices((rows, columns)).reshape(2, -1)
    pen = pen_of("pixel", cells=min(rows, columns))
    strokes = fully_pressed(np.ones((rows * columns, 11), np.float32))
    strokes[:, POINTS] = np.tile(np.stack([(x + 0.5) / columns, (y + 0.5) / rows], 1), 3)
    strokes[:, COLOR] = np.asarray(few).reshape(-1, 3) / np.float32(255)
    strokes[:, THICKNESS] = pen.brush.spec.control.max_thickness
    picture = np.asarray(few).transpose(2, 0, 1).repeat(side, 1).repeat(side, 2)
    _, height, width = picture.shape
    squares = replace(file, height=height, width=width, brushes=(pen.brush.to_dict(),), strokes=strokes[None])
    wanted = np.asarray(_resized(target, width, height)).transpose(2, 0, 1)
    return Painting(picture, squares, pen.brush, mean_squared_error(picture, wanted))


def replay(
    strokes: np.ndarray, brush: Brush, background: tuple[int, ...], size: tuple[int, int], seed: int
) -> Iterator[np.ndarray]:
    """The canvas (3, height, width) uint8 before the first of the strokes (T, 14) and after each: one array, reused."""
    canvas = np.empty((1, 3, *size), np.uint8)
    canvas[:] = np.array(background, np.uint8)[:, None, None]
    prepared, seeds = PreparedBrushes(brush), np.array([seed], np.int64)
    yield canvas[0]
    for i in range(len(strokes)):
        render_strokes(canvas, strokes[i : i + 1], seeds, i, prepared, threads=1)
        yield canvas[0]


def _reduced(picture: np.ndarray) -> np.ndarray:
    """The picture with at most `WORKING_SIDE`² pixels, each the mean of what it stands for."""
    _, height, width = picture.shape
    shrink = WORKING_SIDE / math.sqrt(height * width)
    if shrink >= 1:
        return picture
    small = _resized(picture, max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


def _resized(picture: np.ndarray, width: int, height: int) -> Image.Image:
    """The picture (3, H, W) at another size, each pixel the mean of what it stands for."""
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    return image.resize((width, height), Image.Resampling.BOX)
