"""Going on from a canvas that somebody began, a picture or strokes: towards a photo, or as a trained agent would.

What a mask locks stays as it is, to the pixel, also where strokes cross it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from garl.adversary.update import Adversary
from garl.brush.geometry import BRUSH, COLOR
from garl.brush.spec import Brush
from garl.commission import Commission, Painter
from garl.data.limits import MAX_PIXELS
from garl.engine.paint import PaintEngine, PreparedBrushes
from garl.env.canvas import PaintEnv
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.export.strokefile import StrokeFile
from garl.paint_picture import (
    Painting,
    default,
    lay,
    paint_on,
    read_picture,
    replay,
    resized,
    scale_for,
    shrunk,
    working_size,
)
from garl.progress import PaintProgress, silent
from garl.rollout import collect
from garl.sample import as_seen, asked_for
from garl.strokes import Box, placed
from garl.systems.garl import Agent, draw_noise, load_adversary, load_agent, tell
from garl.types import Ground

TOO_THIN = "what the mask leaves free is too little or too thin to be seen: make more of it white"
ATTEMPTS = 16
"""Paintings of which the adversary keeps the best."""
OVERLAP = 0.25
"""Share of a tile's side that the next tile covers, too."""


@dataclass(frozen=True, eq=False)
class Unfinished:
    """A canvas to go on from, in colour."""

    canvas: np.ndarray  # (3, H, W) uint8
    free: np.ndarray  # (H, W) bool: what may be painted
    file: StrokeFile | None = None  # one painting, whose strokes have led to the canvas and are to be kept

    @property
    def painted(self) -> int:
        """Strokes on the canvas that are kept as strokes."""
        return 0 if self.file is None else self.file.strokes.shape[1]

    def ground(self, box: Box, size: tuple[int, int], seed: int) -> Ground:
        """What a painter begins from who sees a box of it at that size; a file keeps the seed of its jitter."""
        left, top, right, bottom = box
        canvas, free = self.canvas[:, top:bottom, left:right], self.free[top:bottom, left:right]
        seed = seed if self.file is None else int(self.file.seeds[0])
        return Ground(resized(canvas, size), shrunk(free, size), seed, self.painted)

    def extended(self, strokes: np.ndarray, brushes: tuple[Brush, ...], seed: int, render_scale: int = 1) -> StrokeFile:
        """All that leads to the canvas with these strokes (T, 14) painted on, of brushes that only they know."""
        free = None if self.free.all() else self.free
        added = tuple(brush.to_dict() for brush in brushes)
        if self.file is None:
            _, height, width = self.canvas.shape
            ground, seeds = (255, 255, 255), np.array([seed], np.int64)
            return StrokeFile(height, width, 3, ground, added, render_scale, strokes[None], seeds, self.canvas, free)
        numbered = strokes.copy()
        numbered[:, BRUSH] += len(self.file.brushes)
        return replace(
            self.file,
            brushes=self.file.brushes + added,
            strokes=np.concatenate([self.file.strokes, numbered[None]], 1),
            free=free,
            free_from=self.painted if self.file.free is None else self.file.free_from,
        )


def read_unfinished(path: Path, mask: Path | None = None, paper: tuple[int, int, int] = (255, 255, 255)) -> Unfinished:
    """A picture, or the first painting of a stroke file (.json), and what the mask lets paint. Raises GarlError alone.

    The strokes are kept unless the painting has a mask that is not this one, or is grey and a brush of it tints.
    """
    if path.suffix.lower() != ".json":
        canvas, _ = read_picture(path, paper)
        return Unfinished(canvas, read_mask(mask, canvas.shape[1:]))
    file = StrokeFile.load(path)
    if file.height * file.width * file.render_scale**2 > MAX_PIXELS:
        raise GarlError(f"{path} has {file.width}×{file.height} pixels, which are too many to paint on")
    file = replace(file, strokes=file.strokes[:1], seeds=file.seeds[:1])
    *_, canvas = replay(file)
    free = read_mask(mask, canvas.shape[1:])
    tints = any(Brush.from_dict(brush).spec.dab.jitter.color > 0 for brush in file.brushes)
    kept = (file.free is None or np.array_equal(file.free, free)) and (file.channels == 3 or not tints)
    return Unfinished(canvas.repeat(3 // file.channels, 0), free, colored(file) if kept else None)


def colored(file: StrokeFile) -> StrokeFile:
    """A grey painting as one of three channels that are alike."""
    if file.channels == 3:
        return file
    strokes = file.strokes.copy()
    strokes[..., COLOR] = strokes[..., COLOR][..., :1]  # a grey canvas reads red alone
    canvas = None if file.canvas is None else file.canvas.repeat(3, 0)
    return replace(file, channels=3, background=3 * file.background, strokes=strokes, canvas=canvas)


def read_mask(path: Path | None, size: tuple[int, ...]) -> np.ndarray:
    """What may be painted, (H, W) bool: what is white, or what is opaque in a file with transparency; all without one.

    Raises GarlError if the mask cannot be read, is of another shape, or locks everything.
    """
    if path is None:
        return np.ones(size, np.bool_)
    on_black, on_white = (matched(read_picture(path, (grey, grey, grey))[0], size, path) for grey in (0, 255))
    clear = on_white.astype(int) - on_black
    free = clear[0] < 128 if clear.any() else on_black.mean(0) > 127
    if not free.any():
        raise GarlError(f"{path} locks the whole canvas: make white (or opaque) what may be painted")
    return free


def matched(picture: np.ndarray, size: tuple[int, ...], path: Path) -> np.ndarray:
    """The picture (3, h, w) uint8 at the canvas's size. Raises GarlError, which names `path`, if its shape is another.

    It is not cropped: what belongs where on a canvas that is begun is for its user to say.
    """
    (_, height, width), (rows, columns) = picture.shape, size
    if abs(height * columns / width - rows) > 1 and abs(width * rows / height - columns) > 1:
        raise GarlError(
            f"{path} has {width}×{height} pixels and the canvas {columns}×{rows}: crop it to the canvas's shape"
        )
    if (height, width) == size:
        return picture
    return scaled(picture, (rows, columns))


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture (3, h, w) uint8 at another (height, width), as sharp as it may be."""
    image = Image.fromarray(picture.transpose(1, 2, 0)).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def finish_picture(
    unfinished: Unfinished,
    target: np.ndarray,
    count: int,
    brush: Brush,
    painter: Painter = default,
    seed: int = 0,
    progress: PaintProgress = silent,
    seconds: float | None = None,
    own_colors: bool = False,
) -> Painting:
    """Go on towards `target` (3, H, W) uint8 in at most `count` strokes; the error is that of what may be painted. With
    `own_colors` the painter's strokes keep their colours.

    The painter sees the box about what is free, so that a small part of a large canvas gets all its attention.
    """
    rows, columns = (np.flatnonzero(unfinished.free.any(axis)) for axis in (1, 0))
    left, top, right, bottom = box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    size = working_size(bottom - top, right - left)
    ground = unfinished.ground(box, size, seed)
    if not ground.free.any():
        raise GarlError(TOO_THIN)
    seen = resized(target[:, top:bottom, left:right], size)
    asked = Commission(seen, ground, count, brush, seed, progress, seconds)
    strokes = paint_on(asked, painter, own_colors=own_colors)
    strokes = placed(strokes, box, unfinished.free.shape, (bottom - top, right - left))
    file = unfinished.extended(strokes, (brush,), seed, scale_for(brush, *unfinished.free.shape))
    *_, picture = replay(file)
    return Painting(picture, file, mean_squared_error(picture[:, unfinished.free], target[:, unfinished.free]))


def finisher_like(
    run: Path,
    unfinished: Unfinished,
    count: int | None = None,
    attempts: int = ATTEMPTS,
    levels: int = 1,
    seed: int = 0,
    name: str | None = None,
    device: str | None = None,
) -> Callable[[PaintProgress], Painting]:
    """`finish_like` with the agent of a run folder, and in as many strokes as that paints, unless a `count` is given.

    Every mistake raises GarlError here, before anything is painted.
    """
    agent = load_agent(run, device or "auto")
    paint, most, (height, width) = agent.config.paint, agent.config.strokes, unfinished.free.shape
    count = most if count is None else count
    if not 1 <= count <= most or not 1 <= attempts <= 4096 or not 1 <= levels <= 6 or seed < 0:
        raise GarlError(
            f"--strokes must be from 1 to {most}, as many as {run} paints, --n to 4096, --levels to 6, --seed at least "
            f"0, not {count}, {attempts}, {levels} and {seed}"
        )
    if (height, width) != (paint.height, paint.width):
        tell(f"the agent sees {width}×{height} pixels as {paint.width}×{paint.height}")
    asked_for(agent, attempts, name)
    return partial(finish_like, unfinished, agent, load_adversary(run, agent), count, attempts, levels, seed, name)


def finish_like(
    unfinished: Unfinished,
    agent: Agent,
    adversary: Adversary,
    count: int,
    attempts: int = ATTEMPTS,
    levels: int = 1,
    seed: int = 0,
    name: str | None = None,
    progress: PaintProgress = silent,
) -> Painting:
    """Go on as the agent would, in the last `count` strokes of its episode, of the class called `name` if it knows any.

    It sees the whole canvas at the size that it learned on, and paints so many `attempts`, of which the adversary keeps
    the one that looks most real. At each further level it does so in twice as many tiles along each side, one after
    the other; they overlap, and strokes may cross their borders.
    """
    config, device = agent.config, next(agent.policy.parameters()).device
    generator, sampler = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    env = PaintEnv(attempts, PaintEngine(config.paint, agent.brushes), count)
    env.reset(seed=seed)
    asked = asked_for(agent, attempts, name)
    condition = None if asked is None else torch.from_numpy(asked).to(device)
    brushes = [PreparedBrushes(brush) for brush in agent.brushes]
    scale = config.paint.render_scale if unfinished.file is None else unfinished.file.render_scale
    canvas, added, drawn = unfinished.canvas.copy(), np.empty((0, 14), np.float32), None
    boxes, size = list(viewports(levels, *canvas.shape[1:])), (config.paint.height, config.paint.width)
    for number, box in enumerate(boxes):
        left, top, right, bottom = box
        inside = slice(top, bottom), slice(left, right)
        free = shrunk(unfinished.free[inside], size)
        if not free.any():
            continue
        seen = as_seen(config, scaled(canvas[:, *inside], size))
        begun = torch.tensor(seen)[None], torch.tensor(free)[None, None]
        noise = draw_noise(config, attempts, generator).to(device)
        first = config.strokes - count
        rollout = collect(env, agent.policy, noise, sampler, config.learning.dtype, condition, begun, first)
        best = int(adversary.score(rollout.final.to(device), condition).argmax())
        if drawn is None:
            drawn = int(rollout.seeds[best]) if unfinished.file is None else int(unfinished.file.seeds[0])
        strokes = placed(rollout.strokes[:, best].numpy(force=True), box, unfinished.free.shape, size)
        if config.paint.channels == 1:
            strokes[:, COLOR] = strokes[:, COLOR][:, :1]
        if config.invert:
            strokes[:, COLOR] = 1.0 - strokes[:, COLOR]
        lay(canvas, strokes, brushes, drawn, unfinished.painted + len(added), unfinished.free, scale)
        added = np.concatenate([added, strokes])
        progress((number + 1) / len(boxes), len(added), float("nan"), canvas)
    if drawn is None:
        raise GarlError(TOO_THIN)
    return Painting(canvas, unfinished.extended(added, agent.brushes, drawn, scale))


def viewports(levels: int, height: int, width: int) -> Iterator[Box]:
    """Boxes that cover a picture: at first as a whole, at each further level in twice as many tiles along each side,
    row by row, of which each covers `OVERLAP` of the next."""
    for level in range(levels):
        tiles = 2**level
        side = 1 / (1 + (1 - OVERLAP) * (tiles - 1))
        starts = np.linspace(0, 1 - side, tiles)
        for y in starts:
            for x in starts:
                left, top = round(x * width), round(y * height)
                yield left, top, max(left + 1, round((x + side) * width)), max(top + 1, round((y + side) * height))
