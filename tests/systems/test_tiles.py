"""An agent as a painter: whole first, then tiles, each stroke where its tile lies."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from garl.brush.geometry import POINTS, THICKNESS
from garl.commission import Commission
from garl.engine.neural import pen_of
from garl.paint_picture import paint_picture
from garl.systems.learning_to_paint import Agent, Config
from garl.systems.tiles import cut, untiled, whole_then_tiles
from garl.types import Ground


def test_tiles_are_cut_row_by_row() -> None:
    picture = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6)
    tiles = cut(picture, 2, 3)  # of 2 × 2
    assert tiles.shape == (6, 2, 2, 2)
    for number, tile in enumerate(tiles.numpy()):
        row, column = divmod(number, 3)
        np.testing.assert_array_equal(tile, picture[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2])


def test_strokes_lie_in_their_tiles() -> None:
    strokes = np.zeros((2, 6, 14), np.float32)
    strokes[..., POINTS] = (0.0, 0.5, 1.0, 0.25, 0.5, 0.5)
    strokes[..., THICKNESS] = 0.3
    strokes[1, :, 6] = 1.0  # red: every tile's second
    moved = untiled(strokes, 2, 3)
    assert moved.shape == (12, 14)
    assert moved[:, 6].tolist() == [0.0] * 6 + [1.0] * 6
    np.testing.assert_allclose(moved[5, POINTS], [2 / 3, 1.5 / 2, 1, 1.25 / 2, 2.5 / 3, 1.5 / 2], rtol=1e-6)
    np.testing.assert_allclose(moved[:, THICKNESS], 0.15)


class MeanColour(nn.Module):
    """An actor that dots the middle of what it sees with the mean colour of the target."""

    def forward(self, canvas: Tensor, target: Tensor, progress: Tensor) -> Tensor:
        dot = torch.tensor([0.5] * 6 + [1.0] * 4).expand(len(target), 10)
        return torch.cat([dot, target.mean((2, 3))], 1)[:, None]


def test_tiles_see_finer_than_the_whole() -> None:
    """Four quarters of four colours: one dot of the mean, then one of each colour in the middle of its quarter."""
    agent = Agent(Config(actions=1, strokes=1, side=16), pen_of("circle", level=True), MeanColour())
    target = np.zeros((3, 64, 64), np.uint8)
    target[0, :32, 32:], target[1, 32:, :32], target[2, 32:, 32:] = 200, 160, 120
    told: list[tuple[float, int]] = []
    painting = paint_picture(
        target,
        5,
        agent.pen.brush,
        partial(whole_then_tiles, agent, 2),
        progress=lambda share, strokes, error, canvas: told.append((share, strokes)),
    )
    assert told == [(0.2, 1), (1.0, 5)]
    strokes = painting.strokes.strokes[0]
    np.testing.assert_allclose(strokes[:, 0], [0.5, 0.25, 0.75, 0.25, 0.75])
    np.testing.assert_allclose(strokes[:, 1], [0.5, 0.25, 0.25, 0.75, 0.75])
    np.testing.assert_allclose(strokes[:, THICKNESS], [0.5, 0.25, 0.25, 0.25, 0.25])
    assert np.abs(painting.picture[:, 16, 48].astype(int) - [200, 0, 0]).max() <= 2


def test_no_more_strokes_than_asked_for() -> None:
    agent = Agent(Config(actions=2, strokes=3, side=16), pen_of("circle", level=True), Threefold())
    for count in (1, 4, 11):
        for tiles in (1, 2):
            ground = Ground.blank(np.array([255, 255, 255], np.uint8), (20, 30))
            target = np.full((3, 20, 30), 90, np.uint8)
            painted = whole_then_tiles(agent, tiles, Commission(target, ground, count, agent.pen.brush))
            assert painted.shape == (count, 14)


class Threefold(MeanColour):
    def forward(self, canvas: Tensor, target: Tensor, progress: Tensor) -> Tensor:
        return super().forward(canvas, target, progress).repeat(1, 3, 1)
