"""An agent of Learning to Paint as a painter of any picture: first the whole of it, then tile by tile.

Source: the paper's code, which divides the canvas into 4 × 4 once the whole is painted. Each time the agent sees what
the engine has painted so far, strokes that reach over from other tiles included.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from garl.brush.geometry import POINTS, STROKE_SIZE, THICKNESS
from garl.brush.spec import Brush
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.evaluate.pixels import mean_squared_error
from garl.paint_picture import Painter
from garl.progress import PaintProgress, silent
from garl.systems.learning_to_paint import Agent, unit


def painter_of(agent: Agent, tiles: int = 4) -> Painter:
    """The agent as a painter, which goes on in tiles × tiles after one painting of the whole; 1: it does not."""

    def painter(
        target: np.ndarray,
        background: np.ndarray,
        count: int,
        brush: Brush,
        seed: int,
        progress: PaintProgress = silent,
        seconds: float | None = None,
    ) -> np.ndarray:
        started, actions = time.monotonic(), agent.config.actions
        side = tiles * agent.config.side  # every tile has the size that the agent learned on
        prepared, seeds = PreparedBrushes(brush), np.array([seed], np.int64)
        wanted = np.asarray(Image.fromarray(target.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BOX))
        wanted = np.ascontiguousarray(wanted.transpose(2, 0, 1))
        canvas = np.empty((1, 3, side, side), np.uint8)
        canvas[:] = background[:, None, None]
        strokes, action = np.empty((0, STROKE_SIZE), np.float32), 0
        while len(strokes) < count and (not len(strokes) or seconds is None or time.monotonic() - started < seconds):
            division = 1 if action < actions else tiles
            now, goal = (cut(torch.from_numpy(picture), division, tiles) for picture in (canvas[0], wanted))
            numbers = agent.act(now, goal, torch.full((division**2,), action % actions))
            new = placed(agent.pen.strokes(numbers), division).numpy()[: count - len(strokes)]
            for i, stroke in enumerate(new):
                render_strokes(canvas, stroke[None], seeds, len(strokes) + i, prepared, threads=1)
            strokes, action = np.concatenate([strokes, new]), action + 1
            progress(len(strokes) / count, len(strokes), mean_squared_error(canvas[0], wanted))
        return strokes

    return painter


def cut(picture: Tensor, division: int, tiles: int) -> Tensor:
    """A picture (3, tiles·S, tiles·S) uint8 in division × division tiles, row by row: (N, 3, S, S), 0..1."""
    shrunk = F.avg_pool2d(unit(picture), tiles // division)  # (3, division·S, division·S)
    side = shrunk.shape[1] // division
    rows = shrunk.unfold(1, side, side).unfold(2, side, side)  # (3, division, division, S, S)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1)


def placed(strokes: Tensor, division: int) -> Tensor:
    """Strokes (N, k, 14) of N = division² tiles, row by row, on the whole canvas: (k · N, 14), every tile's first one
    before every tile's second."""
    number = torch.arange(division**2)
    corner = torch.stack([number % division, number // division], 1).repeat(1, 3)[:, None]  # (N, 1, 6): x y x y x y
    moved = strokes.clone()
    moved[..., POINTS] = (corner + strokes[..., POINTS]) / division
    moved[..., THICKNESS] /= division
    return moved.transpose(0, 1).flatten(0, 1)
