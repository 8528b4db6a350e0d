"""A pen that moves over a batch of canvases and draws lines, in the engine: what Doodle-SDQ acts in.

Source: Zhou, Fang, Wang, Nie and Li, "Learning to doodle with deep Q-networks and demonstrated strokes", BMVC 2018, §3.

Canvases hold ink, 255 where there is most: white on black. The pen stands on a pixel, at first in the middle. An action
moves it to any cell of a patch about it, drawing a line or lifted:

    action = (down · n + reach + dy) · n + reach + dx          n = 2 · reach + 1;  −reach ≤ dx, dy ≤ reach

A pen that is lifted and stays where it is has finished its drawing (ours: the paper has a fixed number of moves).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from pydantic import Field
from torch import Tensor

from garl.brush.geometry import fully_pressed
from garl.brush.spec import Brush, load_brush
from garl.data.pen_strokes import Drawing
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.settings import Settings

FINER, BATCH = 3, 512
"""How many times larger drawings are drawn than shown, and how many at a time."""
TOLERANCE = 0.6
"""Pixels that a demonstrated move may leave the way that it stands for."""


class PenConfig(Settings):
    """The canvas, how far the pen moves, and what is a bad move. The paper: side 84, reach 5, slow below 5."""

    side: int = Field(56, ge=16, le=256)
    """Canvas height and width in pixels; what is drawn is lines, which have no resolution."""
    reach: int = Field(5, ge=2, le=16)
    """Pixels that the pen moves at most to either side, and up and down."""
    moves: int = Field(80, ge=1)
    """Moves in a drawing at most."""
    slow: int = Field(3, ge=0)
    """A move of fewer pixels, the larger of both directions, is slow."""
    slow_penalty: float = Field(0.05, ge=0.0)
    """What a slow move costs; a straight line of full reach earns about 1."""
    lift_penalty: float = Field(0.05, ge=0.0)
    """What a move with the pen lifted costs."""
    stray_penalty: float = Field(0.1, ge=0.0)
    """What a line costs that ends where the target has no ink: the wrong colour, of two."""

    @property
    def cells(self) -> int:
        """n: cells per side of the patch."""
        return 2 * self.reach + 1

    @property
    def actions(self) -> int:
        """How many there are: lifted to each cell, and drawing."""
        return 2 * self.cells**2

    @property
    def middle(self) -> tuple[int, int]:
        """The pixel where the pen starts."""
        return self.side // 2, self.side // 2

    @property
    def done(self) -> int:
        """The action that ends a drawing."""
        return int(encode(0, 0, 0, self.reach))


def encode(dx: Any, dy: Any, down: Any, reach: int) -> Any:
    """The action that moves the pen by (dx, dy) pixels, drawing if `down` is 1; whole numbers, or arrays of them."""
    n = 2 * reach + 1
    return (down * n + reach + dy) * n + reach + dx


def decode(action: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dy, down) of actions, int64 of their shape."""
    n = 2 * reach + 1
    return action % n - reach, action // n % n - reach, action // n**2


def reward_of(
    less_error: Tensor, dx: Tensor, dy: Tensor, down: Tensor, ink: Tensor, thickness: float, config: PenConfig
) -> Tensor:
    """r = ΔE / (thickness · reach) − slow · [max(|dx|, |dy|) < slow] − lift · [lifted] − stray · [down on bare paper].

    ΔE is how much less the squared error is, 0..1, summed over the pixels, `thickness` the line's in pixels, so that
    their quotient is about 1 for a straight line of full reach; `ink`, 0..1, is the target's where the pen arrives.
    Zhou et al. 2018 §3.3; all (N,).
    """
    slow = torch.maximum(dx.abs(), dy.abs()) < config.slow
    stray = (down == 1) & (ink < 0.5)
    penalty = config.slow_penalty * slow + config.lift_penalty * (down == 0) + config.stray_penalty * stray
    return less_error / (thickness * config.reach) - penalty


def pen_brush(thickness: float) -> Brush:
    """A hard round pen for lines of one thickness, a fraction of the canvas's shorter side."""
    control = {"min_thickness": thickness, "max_thickness": thickness, "min_opacity": 1.0, "max_opacity": 1.0}
    return load_brush("hard_round").with_settings(stroke={"type": "line"}, control=control)


class PenEnv:
    """Drawings that are made side by side, each after its target (B, 1, S, S) uint8, from a canvas or from nothing."""

    def __init__(
        self,
        target: Tensor,
        brush: Brush,
        config: PenConfig,
        canvas: Tensor | None = None,
        start: Tensor | None = None,  # (B, 2) int64: the pens' columns and rows
    ) -> None:
        self.config, self.target, self.thickness = config, target, brush.spec.control.max_thickness
        self.prepared = PreparedBrushes(brush)
        self.canvas = torch.zeros_like(target) if canvas is None else canvas.clone()
        start = torch.tensor(config.middle).repeat(len(target), 1) if start is None else start
        self.pen = torch.cat([start, torch.zeros_like(start[:, :1])], 1)  # (B, 3): column, row, down
        self.alive = torch.ones(len(target), dtype=torch.bool)  # whether the drawing goes on
        self.strokes: list[np.ndarray] = []  # of each move, (B, 14); opacity 0 where the pen was lifted
        self.seeds = np.zeros(len(target), np.int64)

    def error(self) -> Tensor:
        """Squared error (B,), 0..1, summed over the pixels."""
        return ((self.canvas.float() - self.target.float()) / 255).square().sum((1, 2, 3))

    def move(self, action: Tensor) -> Tensor:
        """Make one move (B,) on every canvas that is not finished; returns the rewards (B,)."""
        config, before = self.config, self.pen
        action = torch.where(self.alive, action, config.done)
        dx, dy, down = decode(action, config.reach)
        place = (before[:, :2] + torch.stack([dx, dy], 1)).clamp(0, config.side - 1)
        self.pen = torch.cat([place, down[:, None]], 1)
        ends = (torch.cat([before[:, :2], place], 1).numpy() + 0.5) / config.side  # the middles of pixels
        error, strokes = self.error(), _white(ends, down.numpy(), self.thickness)
        render_strokes(self.canvas.numpy(), strokes, self.seeds, len(self.strokes), self.prepared, threads=1)
        self.strokes.append(strokes)
        dx, dy = (place - before[:, :2]).unbind(1)  # at the edge it moves less than it wanted
        ink = self.target[torch.arange(len(place)), 0, place[:, 1], place[:, 0]] / 255
        thickness = self.thickness * config.side
        reward = reward_of(error - self.error(), dx, dy, down, ink, thickness, config)
        self.alive = self.alive & (action != config.done)
        return torch.where(self.alive, reward, 0.0)


def draw(drawings: Sequence[Drawing], side: int, brush: Brush) -> np.ndarray:
    """Drawings as lines along their ways, in the engine: (N, 1, side, side) uint8.

    Many short lines, whose soft edges add up, would look bolder than one: they are drawn finer and averaged down."""
    parts = [drawings[i : i + BATCH] for i in range(0, len(drawings), BATCH)]
    return np.concatenate([_draw(part, side, brush) for part in parts])


def _draw(drawings: Sequence[Drawing], side: int, brush: Brush) -> np.ndarray:
    lines = [np.concatenate([_lines(_dense(way * np.float64(side), 1) / side) for way in each]) for each in drawings]
    canvas = np.zeros((len(lines), 1, FINER * side, FINER * side), np.uint8)
    prepared, thickness = PreparedBrushes(brush), brush.spec.control.max_thickness
    for i in range(max(map(len, lines))):
        rest = [k for k, line in enumerate(lines) if i < len(line)]
        part, seeds = canvas[rest], np.zeros(len(rest), np.int64)
        strokes = _white(np.stack([lines[k][i] for k in rest]), np.ones(len(rest)), thickness)
        render_strokes(part, strokes, seeds, i, prepared, threads=1)
        canvas[rest] = part
    return np.rint(canvas.reshape(-1, 1, side, FINER, side, FINER).mean((3, 5))).astype(np.uint8)


def _lines(way: np.ndarray) -> np.ndarray:
    """The ends (N − 1, 4) of the lines between points (N, 2); of a single point, of one line that stays there."""
    return np.concatenate([way[:-1], way[1:]], 1) if len(way) > 1 else np.tile(way, 2)


def _white(ends: np.ndarray, opacity: np.ndarray, thickness: float) -> np.ndarray:
    """White lines (N, 14) with their ends (N, 4) in fractions of the canvas."""
    rest = np.broadcast_to([1.0, 1.0, 1.0, thickness], (len(ends), 4))
    return fully_pressed(np.concatenate([ends, ends[:, 2:], rest, opacity[:, None]], 1).astype(np.float32))


def demonstrate(drawing: Drawing, config: PenConfig, start: np.ndarray | None = None) -> np.ndarray:
    """The actions (T,) int64 of a pen that draws strokes, from the pixel `start` or the middle, and is done.

    Each move goes as far along the way as the patch reaches and a straight line stays near it."""
    places, down = [np.array(config.middle if start is None else start)[None]], []
    for stroke in drawing:
        way = np.clip(stroke * np.float64(config.side) - 0.5, 0, config.side - 1)
        pen, first = places[-1][-1], np.rint(way[0])
        pieces = math.ceil(np.abs(first - pen).max() / config.reach)
        travel = np.rint(np.linspace(pen, first, pieces + 1))[1:].astype(np.int64)
        line = _followed(_dense(way, 2), config.reach, TOLERANCE)
        places += [travel, line]
        down += [np.zeros(len(travel), np.int64), np.ones(len(line), np.int64)]
    dx, dy = np.diff(np.concatenate(places), axis=0).T
    return np.append(encode(dx, dy, np.concatenate(down), config.reach), config.done)


def _dense(way: np.ndarray, points: int) -> np.ndarray:
    """The way (N, 2), in pixels, with so many points on each pixel's length of it."""
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(way, axis=0), axis=1).cumsum()])
    at = np.linspace(0.0, lengths[-1], 1 + math.ceil(points * lengths[-1]))
    return np.stack([np.interp(at, lengths, way[:, i]) for i in range(2)], 1)


@njit(cache=True)
def _followed(way: np.ndarray, reach: int, tolerance: float) -> np.ndarray:
    """The pixels (K, 2) that a pen, which stands where `way` (N, 2) begins, moves to one after the other."""
    places = np.empty((len(way), 2), np.int64)
    count, at = 0, 0
    column, row = np.rint(way[0, 0]), np.rint(way[0, 1])
    while at < len(way) - 1 or count == 0:
        best = min(at + 1, len(way) - 1)
        for i in range(at + 1, len(way)):
            dx, dy = np.rint(way[i, 0]) - column, np.rint(way[i, 1]) - row
            if max(abs(dx), abs(dy)) > reach:
                break
            length = max(1.0, dx * dx + dy * dy)
            near = True
            for j in range(at + 1, i):  # how far each point between lies from the line
                x, y = way[j, 0] - column, way[j, 1] - row
                along = min(1.0, max(0.0, (x * dx + y * dy) / length))
                near = near and (x - along * dx) ** 2 + (y - along * dy) ** 2 <= tolerance**2
            if near:
                best = i
        at = best
        if count and np.rint(way[at, 0]) == column and np.rint(way[at, 1]) == row:
            continue  # no move at all
        column, row = np.rint(way[at, 0]), np.rint(way[at, 1])
        places[count, 0], places[count, 1] = column, row
        count += 1
    return places[:count]
