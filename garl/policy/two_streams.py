"""A network that sees a whole canvas and, finely, the patch about the pen: the two streams of Doodle-SDQ.

Source: Zhou et al. 2018 §3.2, with fewer maps. Four planes of the global stream: the target, the canvas, each pixel's
distance from the pen, and what the pen lays down there (in the paper a colour; here 1 while it draws, 0 while lifted).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from garl.settings import Settings


class StreamsConfig(Settings):
    """Size of the network."""

    width: int = Field(16, ge=1)
    """Maps of the first convolution; the others have twice as many."""
    hidden: int = Field(256, ge=1)
    """Units of the layer where the streams meet."""


def views(canvas: Tensor, target: Tensor, pen: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """What the streams see of canvases and targets (N, 1, S, S) uint8 with pens (N, 3) (column, row, down): (N, 4, S, S)
    and (N, 2, n, n), n = 2 · reach + 1, without ink beyond the edge; 0..1."""
    n, _, height, width = canvas.shape
    column, row, down = (each.view(n, 1, 1, 1) for each in pen.unbind(1))
    ink = torch.cat([target, canvas], 1)
    x, y = torch.arange(width) - column, torch.arange(height)[:, None] - row  # (n, 1, 1, W), (n, 1, H, 1)
    distance = (x.square() + y.square()).sqrt() / max(height, width)
    whole = torch.cat([ink / 255, distance, down.expand(n, 1, height, width).float()], 1)
    span = torch.arange(2 * reach + 1)
    rows, columns = row.view(n, 1, 1) + span[:, None], column.view(n, 1, 1) + span
    patch = F.pad(ink, (reach, reach, reach, reach))[torch.arange(n).view(n, 1, 1), :, rows, columns]
    return whole, patch.permute(0, 3, 1, 2) / 255


class TwoStreams(nn.Module):
    """Views → Q values (N, 2 · n²)."""

    def __init__(self, side: int, reach: int, config: StreamsConfig) -> None:
        super().__init__()
        width, cells = config.width, 2 * reach + 1
        self.whole = nn.Sequential(
            nn.Conv2d(4, width, 8, 4, 2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.patch = nn.Sequential(
            nn.Conv2d(2, 2 * width, 3), nn.ReLU(), nn.Conv2d(2 * width, 2 * width, 3), nn.ReLU(), nn.Flatten()
        )
        features = 2 * width * ((side // 4 // 2) ** 2 + (cells - 4) ** 2)
        self.merged = nn.Sequential(
            nn.Linear(features, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2 * cells**2)
        )

    def forward(self, whole: Tensor, patch: Tensor) -> Tensor:
        return self.merged(torch.cat([self.whole(whole), self.patch(patch)], 1))
