"""Trained agents as painters of pictures of any size: coarse to fine, in tiles of the agent's own canvas.

`in_tiles`: an agent of GARL that has learned with `--condition picture` first paints the whole picture on one canvas;
then, on what it has painted, each of four quarters, each of sixteen parts, and so on, as in PaintBot (Jia et al. 2019).

`whole_then_tiles`: one of Learning to Paint, or of StrokeNet, paints the whole, and then as many tiles at once as it is
told, as in the former paper's code. Before each action it sees what the engine has painted, strokes that reach over
from other tiles included.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from garl.brush.geometry import COLOR, STROKE_SIZE
from garl.commission import Commission
from garl.engine.paint import PreparedBrushes
from garl.errors import GarlError
from garl.evaluate.pixels import mean_squared_error
from garl.paint_picture import lay, resized, shrunk
from garl.rollout import collect
from garl.sample import as_seen
from garl.strokes import placed
from garl.systems import learning_to_paint, stroke_net
from garl.systems.garl import Agent, draw_noise, make_env

BATCH = 64
"""Tiles painted at a time."""


def paper(agent: Agent) -> tuple[int, int, int]:
    """The colour of the paper that an agent paints on, as it is sampled."""
    color = agent.config.paint.background * (3 // len(agent.config.paint.background))
    red, green, blue = (255 - value if agent.config.invert else value for value in color)
    return red, green, blue


def in_tiles(agent: Agent, asked: Commission) -> np.ndarray:
    """A painter: as many levels of tiles as there are strokes for.

    Raises GarlError if the agent cannot be shown a picture, or if not even the first level has strokes enough.
    """
    config, target, ground, started = agent.config, asked.target, asked.ground, time.monotonic()
    if config.condition != "picture" or len(agent.brushes) > 1:
        raise GarlError("the agent must paint what it is shown, with one brush: train it with --condition picture")
    _, height, width = target.shape
    painted, level = np.empty((0, 14), np.float32), 1
    while True:
        rows, columns = (max(1, round(level * side / min(height, width))) for side in (height, width))
        if len(painted) + rows * columns * config.strokes > asked.count:
            break
        size = rows * config.paint.height, columns * config.paint.width
        pictures = (resized(target, size), _canvas(painted, asked, size))
        shown, canvas = (cut(as_seen(config, each), rows, columns) for each in pictures)
        free = cut(shrunk(ground.free, size)[None], rows, columns)
        parts = zip(shown.split(BATCH), canvas.split(BATCH), free.split(BATCH), strict=True)
        strokes = np.concatenate([_painted(agent, *part, asked.seed) for part in parts], 1)  # (T, rows · columns, 14)
        if config.invert:
            strokes[..., COLOR] = 1.0 - strokes[..., COLOR]
        painted = np.concatenate([painted, untiled(strokes, rows, columns)])
        now = _canvas(painted, asked, (height, width))
        asked.progress(len(painted) / asked.count, len(painted), mean_squared_error(now, target), now)
        level *= 2
        if asked.seconds is not None and time.monotonic() - started > asked.seconds:
            break
    if not len(painted):
        raise GarlError(
            f"the agent paints {rows * columns * config.strokes} strokes at first: set --strokes to as many"
        )
    return painted


def _painted(agent: Agent, shown: Tensor, canvas: Tensor, free: Tensor, seed: int) -> np.ndarray:
    """The agent's strokes (T, N, 14) for targets (N, C, h, w) uint8, on canvases of which (N, 1, h, w) bool is free."""
    device = next(agent.policy.parameters()).device
    env = make_env(agent.config, len(shown), agent.brushes)
    env.reset(seed=seed)
    noise = draw_noise(agent.config, len(shown), torch.Generator().manual_seed(seed)).to(device)
    sampler = torch.Generator(device).manual_seed(seed)
    precision, begun = agent.config.learning.dtype, (canvas, free)
    return collect(env, agent.policy, noise, sampler, precision, shown.to(device), begun).strokes.numpy(force=True)


def _canvas(strokes: np.ndarray, asked: Commission, size: tuple[int, int]) -> np.ndarray:
    """What the engine makes of the strokes (T, 14) on the ground, (3, height, width) uint8."""
    ground, canvas = asked.ground, resized(asked.ground.canvas, size).copy()
    lay(canvas, strokes, [PreparedBrushes(asked.brush)], ground.seed, ground.painted, shrunk(ground.free, size))
    return canvas


def whole_then_tiles(agent: learning_to_paint.Agent | stroke_net.Agent, tiles: int, asked: Commission) -> np.ndarray:
    """A painter: as many strokes as it may paint, or those that it has when its time is up. After one painting of the
    whole the agent goes on in tiles × tiles."""
    ground, count, seconds = asked.ground, asked.count, asked.seconds
    started, actions, side = time.monotonic(), agent.actions, agent.side
    size = tiles * side, tiles * side  # every tile has the size that the agent learned on
    wanted, canvas, free = resized(asked.target, size), resized(ground.canvas, size).copy(), shrunk(ground.free, size)
    strokes, action, prepared = np.empty((0, STROKE_SIZE), np.float32), 0, [PreparedBrushes(asked.brush)]
    while len(strokes) < count and (not len(strokes) or seconds is None or time.monotonic() - started < seconds):
        division = 1 if action < actions else tiles
        seen = division * side, division * side
        parts = (cut(resized(picture, seen), division, division) for picture in (canvas, wanted))
        now, goal = (learning_to_paint.unit(part) for part in parts)
        numbers = agent.act(now, goal, torch.full((division**2,), action % actions))
        new = untiled(agent.pen.strokes(numbers).transpose(0, 1).numpy(), division, division)[: count - len(strokes)]
        lay(canvas, new, prepared, ground.seed, ground.painted + len(strokes), free)
        strokes, action = np.concatenate([strokes, new]), action + 1
        asked.progress(len(strokes) / count, len(strokes), mean_squared_error(canvas, wanted), canvas)
    return strokes


def untiled(strokes: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Strokes (T, rows · columns, 14) of tiles, row by row, on the whole canvas: (T · rows · columns, 14), every tile's
    first one before every tile's second."""
    boxes = [(column, row, column + 1, row + 1) for row, column in np.ndindex(rows, columns)]  # a pixel is a tile
    parts = [placed(strokes[:, i], box, (rows, columns), (1, 1)) for i, box in enumerate(boxes)]
    return np.stack(parts, 1).reshape(-1, STROKE_SIZE)


def cut(picture: np.ndarray, rows: int, columns: int) -> Tensor:
    """The parts (rows · columns, C, h, w) of a picture (C, rows · h, columns · w), row by row."""
    channels, height, width = picture.shape
    parts = picture.reshape(channels, rows, height // rows, columns, width // columns).transpose(1, 3, 0, 2, 4)
    return torch.from_numpy(np.ascontiguousarray(parts.reshape(-1, channels, height // rows, width // columns)))
