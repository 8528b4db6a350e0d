"""An agent as a painter: whole first, then tiles, each stroke where its tile lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from garl.brush.geometry import POINTS, THICKNESS
from garl.engine.neural import pen_of
from garl.paint_picture import paint_picture
from garl.systems.learning_to_paint import Agent, Config
from garl.systems.tiles import cut, painter_of, placed


def test_tiles_are_cut_row_by_row() -> None:
    picture = torch.arange(8 * 8).view(1, 8, 8).expand(3, 8, 8).to(torch.uint8)
    tiles = cut(picture, 2, 2)  # of 4 × 4
    assert torch.equal(255 * tiles[1, 0], picture[0, :4, 4:].float())
    assert torch.equal(255 * tiles[2, 2], picture[0, 4:, :4].float())
    whole = cut(picture, 1, 2)  # halved
    assert whole.shape == (1, 3, 4, 4)
    assert float(255 * whole[0, 0, 0, 1]) == pytest.approx((2 + 3 + 10 + 11) / 4)


def test_strokes_lie_in_their_tiles() -> None:
    strokes = torch.zeros(9, 2, 14)
    strokes[..., POINTS] = torch.tensor([0.0, 0.5, 1.0, 0.25, 0.5, 0.5])
    strokes[..., THICKNESS] = 0.3
    strokes[:, 1, 6] = 1.0  # red: every tile's second
    moved = placed(strokes, 3)
    assert moved.shape == (18, 14)
    assert moved[:, 6].tolist() == [0.0] * 9 + [1.0] * 9
    torch.testing.assert_close(moved[5, POINTS], torch.tensor([2, 1.5, 3, 1.25, 2.5, 1.5]) / 3)  # row 1, column 2
    torch.testing.assert_close(moved[:, THICKNESS], torch.full((18,), 0.1))


class MeanColour(nn.Module):
    """An actor that dots the middle of what it sees with the mean colour of the target."""

    def forward(self, x: Tensor) -> Tensor:
        color = torch.logit(x[:, 3:6].mean((2, 3)).clamp(1e-4, 1 - 1e-4))
        dot = torch.tensor([0.0, 0, 0, 0, 0, 0, 20, 20, 20, 20]).expand(len(x), 10)
        return torch.cat([dot, color], 1)


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
        painter_of(agent, tiles=2),
        progress=lambda share, strokes, error: told.append((share, strokes)),
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
            painted = painter_of(agent, tiles)(
                np.full((3, 20, 30), 90, np.uint8), np.array([255, 255, 255], np.uint8), count, agent.pen.brush, 0
            )
            assert painted.shape == (count, 14)


class Threefold(MeanColour):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).repeat(1, 3)
