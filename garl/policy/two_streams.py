"""A network that sees the whole canvas coarsely and the patch about the pen finely: the two streams of Doodle-SDQ.

Source: Zhou et al. 2018 §3.2, with fewer maps. There the whole canvas is seen where it lies, with each pixel's distance
from the pen. Here it is moved so that the pen is in the middle, which leaves nothing of that to be learned: where to go
does not depend on where one is. Its four planes: the target, the canvas, what of them is inside the edge, and what the
pen lays down (in the paper a colour; here 1 while it draws, 0 while lifted).
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from garl.settings import Settings

GRAIN = 4
"""Pixels per side of a cell of the coarse view."""


class StreamsConfig(Settings):
    """Size of the network."""

    width: int = Field(16, ge=1)
    """Maps of the first convolution; the others have twice as many."""
    hidden: int = Field(128, ge=1)
    """Units of the layer where the streams meet."""


def views(canvas: Tensor, target: Tensor, pen: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """What the streams see of canvases and targets (N, 1, S, S) uint8 with pens (N, 3) (column, row, down): cells of
    GRAIN pixels (N, 4, M, M), and pixels (N, 2, n, n), n = 2 · reach + 1; the pen's own in the middle; 0..1."""
    n = len(pen)
    ink = torch.cat([target, canvas], 1)
    cells = F.avg_pool2d(ink.float() / 255, GRAIN, ceil_mode=True)
    inside, down = torch.ones_like(cells[:, :1]), pen[:, 2].float().view(n, 1, 1, 1)
    far = about(torch.cat([cells, inside], 1), pen // GRAIN, cells.shape[2] - 1)
    whole = torch.cat([far, down.expand(n, 1, *far.shape[2:])], 1)
    return whole, about(ink, pen, reach) / 255


def about(pictures: Tensor, pen: Tensor, reach: int) -> Tensor:
    """The parts (N, C, 2 · reach + 1, 2 · reach + 1) of pictures (N, C, S, S) about (column, row, …); beyond, 0."""
    column, row = (each.view(-1, 1, 1) for each in pen[:, :2].unbind(1))
    span = torch.arange(2 * reach + 1)
    number = torch.arange(len(pen)).view(-1, 1, 1)
    padded = F.pad(pictures, (reach, reach, reach, reach))
    return padded[number, :, row + span[:, None], column + span].permute(0, 3, 1, 2)


class TwoStreams(nn.Module):
    """Views → Q values (N, 2 · n²)."""

    def __init__(self, side: int, reach: int, config: StreamsConfig) -> None:
        super().__init__()
        width, cells = config.width, 2 * reach + 1
        self.whole = nn.Sequential(
            nn.Conv2d(4, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.patch = nn.Sequential(
            nn.Conv2d(2, 2 * width, 3), nn.ReLU(), nn.Conv2d(2 * width, 2 * width, 3), nn.ReLU(), nn.Flatten()
        )
        coarse = math.ceil(math.ceil(side / GRAIN) / 2)  # of 2 · cells − 1, after two halvings
        features = 2 * width * (coarse**2 + (cells - 4) ** 2)
        self.merged = nn.Sequential(
            nn.Linear(features, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2 * cells**2)
        )

    def forward(self, whole: Tensor, patch: Tensor) -> Tensor:
        return self.merged(torch.cat([self.whole(whole), self.patch(patch)], 1))
