"""A picture painted in strokes: from any file that holds one to the files that a painting can become."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from garl.brush.geometry import BRUSH, COLOR, PLAIN_SIZE, POINTS, STROKE_SIZE, THICKNESS, fully_pressed
from garl.brush.spec import Brush
from garl.commission import Commission, Painter
from garl.data.decode import decode
from garl.data.limits import check_unpacked
from garl.data.sources import open_picture
from garl.engine.differentiable import gap, tip_of
from garl.engine.neural import pen_of
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.errors import GarlError, printable
from garl.evaluate.pixels import mean_squared_error
from garl.export.picture import save_png
from garl.export.plotter import PlotConfig, save_plot
from garl.export.strokefile import StrokeFile
from garl.export.svg import save_svg
from garl.export.video import save_video
from garl.palette import choose_palette
from garl.progress import PaintProgress, silent
from garl.strokes import ORDERS
from garl.systems.greedy import box, greedy
from garl.systems.refine import recolor, refine, snap
from garl.types import Ground

LIKE = 0.1
"""Up to this `differentiable.gap`, refining a brush's strokes through the twin beats searching in the engine."""


def default(asked: Commission) -> np.ndarray:
    """The painter that suits the brush: `refine` where the twin is like the engine, else `greedy`."""
    return refine(asked) if is_smooth(asked.brush) else greedy(asked)


def is_smooth(brush: Brush) -> bool:
    """Whether the brush has hardly any texture, jitter or taper, so that the twin is like it."""
    return gap(brush, tip_of(brush)) < LIKE


PAINTERS: dict[str, Painter] = {"default": default, "refine": refine, "greedy": greedy}
ENDINGS = (".png", ".svg", ".mp4", ".gif", ".json", ".gcode", ".hpgl")
LARGEST_SIDE = 2**15
"""Of a picture, as in stroke files."""
WORKING_SIDE = 256
"""Painters see the picture with at most as many pixels as a square of this side: strokes have no resolution."""
FINE, FINEST = 1000, 4
"""Brushes with texture are drawn up to FINEST times larger and averaged down, till the canvas's shorter side has FINE
pixels: grain finer than a pixel would look different at every size."""
FILM_SIDE = 512
"""Longer side of a time-lapse, unless a larger one is asked for."""
LARGEST_FILM = 1920
FILM_FRAMES = 150
FILM_FPS = 20.0


@dataclass(frozen=True, eq=False)
class Painting:
    """A finished painting, (1 or 3, H, W) uint8, its strokes, and its mean squared error, 0..1, at full size where it
    may be painted, if it has a target."""

    picture: np.ndarray
    strokes: StrokeFile
    error: float | None = None

    def save(self, path: Path, plot: PlotConfig = PlotConfig(), film_side: int = FILM_SIDE) -> list[str]:  # noqa: B008
        """Write it in the form that the ending of `path` names: a picture, vectors, a time-lapse, the strokes, or a
        plotter's way. Returns what the owner of a plotter should know."""
        check_ending(path)
        ending = path.suffix.lower()
        if ending == ".png":
            save_png(path, _pixels(self.picture))
        elif ending == ".svg":
            save_svg(path, self.strokes, tips=[tip_of(Brush.from_dict(brush)) for brush in self.strokes.brushes])
        elif ending == ".json":
            self.strokes.save(path)
        elif ending in (".gcode", ".hpgl"):
            return save_plot(path, self.strokes, config=plot)
        else:
            save_video(path, self._film(film_side), FILM_FPS)
        return []

    def _film(self, side: int) -> Iterator[np.ndarray]:
        """At most `FILM_FRAMES` frames (h, w, 3) from the first canvas to the painting, which is held for 1.5 s."""
        _, height, width = self.picture.shape
        shrink = min(1.0, side / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        count = self.strokes.strokes.shape[1]
        every = math.ceil(count / FILM_FRAMES)
        for i, canvas in enumerate(replay(self.strokes, size)):
            if i % every == 0 or i == count:
                yield _pixels(canvas)
        for _ in range(round(1.5 * FILM_FPS)):
            yield _pixels(canvas)


def _pixels(canvas: np.ndarray) -> np.ndarray:
    """A copy of a canvas (1 or 3, H, W) as (H, W, 3)."""
    return np.repeat(canvas, 3 // len(canvas), 0).transpose(1, 2, 0)


def check_ending(path: Path) -> None:
    """Raise GarlError unless `path` ends like a file that a painting can become."""
    if path.suffix.lower() not in ENDINGS:
        raise GarlError(f"{path} ends in {path.suffix or 'nothing'}: use one of {', '.join(ENDINGS)}")


def read_picture(path: Path, background: tuple[int, int, int] = (255, 255, 255)) -> tuple[np.ndarray, int]:
    """The picture in a file, (3, H, W) uint8, upright, on the background; and how many frames the file holds.

    Of several frames the first is read. Raises GarlError alone, whatever the file holds.
    """
    try:
        with open_picture(path) as image:
            width, height = image.size  # before the pixels are loaded: a small file can hold a huge picture
            if max(height, width) > LARGEST_SIDE:
                raise GarlError(f"{path} is {width}×{height} pixels: make its sides at most {LARGEST_SIDE:,}")
            check_unpacked(path, width * height * len(image.getbands()))
            return decode(image, None, 3, background), getattr(image, "n_frames", 1)
    except GarlError:
        raise
    except OSError as error:
        raise GarlError(f"cannot read the picture {path} ({_reason(error)}): see that it is whole and yours") from error
    except Exception as error:  # Pillow meets damaged bytes with exceptions of nearly every kind
        raise GarlError(
            f"{path} cannot be read as a picture ({_reason(error)}): save it anew, as PNG or JPEG"
        ) from error


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
    order: str = "as-painted",
    palette: str | None = None,
    own_colors: bool = False,
) -> Painting:
    """Paint `target` (3, H, W) uint8 in at most `count` strokes; the painter sees it small, the engine paints it full.

    With `seconds` a painter stops searching after about that time; without, the same seed gives the same painting.
    `order`, `palette` and `own_colors` are those of `paint_on`.
    """
    _, height, width = target.shape
    size = working_size(height, width)
    ground = Ground.blank(np.array(background, np.uint8), size, seed)
    asked = Commission(resized(target, size), ground, count, brush, seed, progress, seconds)
    strokes = paint_on(asked, painter, order, palette, own_colors)
    file = StrokeFile(
        height=height,
        width=width,
        channels=3,
        background=background,
        brushes=(brush.to_dict(),),
        render_scale=scale_for(brush, height, width),
        strokes=strokes[None],
        seeds=np.array([seed], np.int64),
    )
    *_, picture = replay(file)
    return Painting(picture, file, mean_squared_error(picture, target))


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
    small = Image.fromarray(resized(painting.picture, (rows, columns)).transpose(1, 2, 0))
    few = small.quantize(colors, dither=Image.Dither.NONE).convert("RGB")
    y, x = np.indices((rows, columns)).reshape(2, -1)
    pen = pen_of("pixel", cells=min(rows, columns))
    strokes = fully_pressed(np.ones((rows * columns, PLAIN_SIZE), np.float32))
    strokes[:, POINTS] = np.tile(np.stack([(x + 0.5) / columns, (y + 0.5) / rows], 1), 3)
    strokes[:, COLOR] = np.asarray(few).reshape(-1, 3) / np.float32(255)
    strokes[:, THICKNESS] = pen.brush.spec.control.max_thickness
    picture = np.asarray(few).transpose(2, 0, 1).repeat(side, 1).repeat(side, 2)
    _, height, width = picture.shape
    squares = replace(
        painting.strokes,
        height=height,
        width=width,
        brushes=(pen.brush.to_dict(),),
        render_scale=1,
        strokes=strokes[None],
    )
    return Painting(picture, squares, mean_squared_error(picture, resized(target, (height, width))))


def scale_for(brush: Brush, height: int, width: int) -> int:
    """How many times larger the brush is drawn, and averaged down, on a canvas of that size."""
    return 1 if is_smooth(brush) else min(FINEST, math.ceil(FINE / min(height, width)))


def paint_on(
    asked: Commission,
    painter: Painter,
    order: str = "as-painted",
    palette: str | None = None,
    own_colors: bool = False,
) -> np.ndarray:
    """Strokes (T, 14) that bring the ground nearer to the target, where it is free.

    They are brought into one of `ORDERS` before their colours are fitted (not with `own_colors`, where the painter's
    are kept), and those to what `palette` means: a number of colours, or a palette file.
    """
    ground, brush = asked.ground, asked.brush
    found = None if palette is None else choose_palette(palette, asked.target[:, ground.free].T / 255)
    target = np.where(ground.free, asked.target, ground.canvas)
    strokes = painter(replace(asked, target=target))
    assert strokes.shape[1] == STROKE_SIZE
    assert 1 <= len(strokes) <= asked.count
    strokes = strokes[ORDERS[order](strokes, brush.spec.stroke.type)]
    strokes = strokes if own_colors else recolor(strokes, target, ground, brush)
    return strokes if found is None else snap(strokes, target, ground, brush, found)


def replay(file: StrokeFile, size: tuple[int, int] | None = None, index: int = 0) -> Iterator[np.ndarray]:
    """The canvas (C, height, width) uint8 of a painting before its first stroke and after each: one array, reused.

    `size` is that of the file unless it is given. Raises GarlError if a brush of the file will not do.
    """
    size = size or (file.height, file.width)
    if file.canvas is None:
        canvas = np.empty((file.channels, *size), np.uint8)
        canvas[:] = np.array(file.background, np.uint8)[:, None, None]
    else:
        canvas = resized(file.canvas, size).copy()
    brushes = [PreparedBrushes(Brush.from_dict(brush)) for brush in file.brushes]
    strokes, first, seed = file.strokes[index], file.free_from, int(file.seeds[index])
    free = None if file.free is None else shrunk(file.free, size)
    yield canvas
    for i in range(len(strokes)):
        lay(canvas, strokes[i : i + 1], brushes, seed, i, None if i < first else free, file.render_scale)
        yield canvas


def lay(
    canvas: np.ndarray,
    strokes: np.ndarray,
    brushes: Sequence[PreparedBrushes],
    seed: int,
    first: int = 0,
    free: np.ndarray | None = None,
    render_scale: int = 1,
) -> None:
    """Paint strokes (T, 14), numbered from `first`, onto `canvas` (C, H, W) uint8, in place.

    Paint stays where it is `free` (H, W) bool.
    """
    (_, height, width), seeds = canvas.shape, np.array([seed], np.int64)
    for i, stroke in enumerate(strokes, first):
        brush, alone = brushes[int(stroke[BRUSH])], stroke[None].copy()
        alone[0, BRUSH] = 0.0
        if free is not None:
            left, top, right, bottom = box(alone[0], height, width, brush.kind, brush.parameters, brush.reach)
            touched, locked = canvas[:, top:bottom, left:right], ~free[top:bottom, left:right]
            before = touched[:, locked]
        render_strokes(canvas[None], alone, seeds, i, brush, render_scale, threads=1)
        if free is not None:
            touched[:, locked] = before


def working_size(height: int, width: int, side: int | None = None) -> tuple[int, int]:
    """(height, width) at which a picture of that size is shown to a painter: at most `side`² pixels, `WORKING_SIDE`² by
    default."""
    shrink = min(1.0, (side or WORKING_SIDE) / math.sqrt(height * width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture (C, H, W) uint8 at another size, each pixel the mean of what it stands for."""
    if picture.shape[1:] == size:
        return picture
    layers = (Image.fromarray(layer).resize(size[::-1], Image.Resampling.BOX) for layer in picture)
    return np.stack([np.asarray(layer) for layer in layers])


def shrunk(free: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool at another size: true where more than half is."""
    return resized(free[None] * np.uint8(255), size)[0] > 127
