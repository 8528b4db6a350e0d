"""A model of the engine's strokes that a gradient flows through: a network that has learned them, or the analytic twin.

Source: Huang, Heng and Zhou, "Learning to paint with model-based deep reinforcement learning", ICCV 2019, §3.2 and §4.
A stroke is 13 numbers in 0..1, of which a kind of stroke reads those that it has; an action is k strokes, (N, k, 13):

    x0 y0 x1 y1 x2 y2   r0 t0   r1 t1   R G B        points, width and opacity at the start and the end, colour

The network sees the first ten and answers with the stroke's alpha on a canvas of S × S pixels. Our engine's strokes
have one opacity, so that here t is the mean of t0 and t1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from garl.brush.geometry import COLOR, POINTS_PER_TYPE
from garl.brush.spec import Brush, load_brush
from garl.engine.differentiable import paint as paint_twin
from garl.engine.differentiable import tip_of
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.settings import Settings

NUMBERS = 13
"""Of a stroke."""
SHAPE = slice(0, 10)
"""Of these: all but the colour."""
Kind = Literal["bezier", "triangle", "circle", "pixel"]
BRUSHES = {"bezier": "hard_round", "triangle": "triangle", "circle": "point"}
SQUARE = 64 / 62
"""Side of hard_square's texture over that of the square in it."""


@dataclass(frozen=True, eq=False)
class Pen:
    """A kind of stroke: what its numbers mean to the engine."""

    brush: Brush
    level: bool = False  # whether a stroke is as wide at its start as at its end: the mean of both
    cells: int = 0  # places lie in the middle of one of cells × cells; 0: anywhere

    def strokes(self, action: Tensor) -> Tensor:
        """The engine's strokes (…, 14) of (…, 13) numbers; differentiable, but for places in cells."""
        control, kind = self.brush.spec.control, self.brush.spec.stroke.type
        points = list(action[..., :6].split(2, -1))[: POINTS_PER_TYPE[kind]]
        if self.cells:
            points = [((p * self.cells).floor().clamp(max=self.cells - 1) + 0.5) / self.cells for p in points]
        points += [points[-1]] * (3 - len(points))
        ends = control.min_thickness + action[..., 6:10:2] * (control.max_thickness - control.min_thickness)
        opacity = action[..., 7:10:2].mean(-1, keepdim=True)
        opacity = control.min_opacity + opacity * (control.max_opacity - control.min_opacity)
        if self.level or kind in ("triangle", "point"):
            thickness = ends.mean(-1, keepdim=True)
            pressure = torch.ones_like(ends)
        else:
            thickness = ends.amax(-1, keepdim=True)
            pressure = ends / thickness
        brush = torch.zeros_like(opacity)
        return torch.cat([*points, action[..., 10:], thickness, opacity, pressure, brush], -1)


def pen_of(kind: Kind, level: bool = False, cells: int = 16) -> Pen:
    """The pen for a kind of stroke; a pixel is a square dab that fills one of cells × cells."""
    if kind != "pixel":
        return Pen(load_brush(BRUSHES[kind]), level)
    side = SQUARE / cells
    control = {"min_thickness": side, "max_thickness": side, "min_opacity": 0.2, "max_opacity": 1.0}
    square = load_brush("hard_square").with_settings(
        stroke={"type": "point"}, dab={"follow_stroke_angle": False}, control=control
    )
    return Pen(square, cells=cells)


def draw(strokes: Tensor, side: int, prepared: PreparedBrushes) -> Tensor:
    """What the engine covers with each of strokes (N, 14): alphas (N, 1, side, side) float32, opacity included."""
    white = strokes.clone()
    white[:, COLOR] = 1.0
    canvas = np.zeros((len(white), 1, side, side), np.uint8)
    render_strokes(canvas, white.numpy(), np.zeros(len(white), np.int64), 0, prepared, threads=torch.get_num_threads())
    return torch.from_numpy(canvas).float() / 255


class Renderer(Protocol):
    """(action (N, k, 13), canvas (N, 3, S, S) float32, 0..1) → the next canvas, differentiable in both."""

    pen: Pen

    def __call__(self, action: Tensor, canvas: Tensor) -> Tensor: ...


class Twin:
    """The renderer that need not be learned: the engine's equation (`garl.engine.differentiable`), level strokes."""

    def __init__(self, pen: Pen) -> None:
        self.pen, self.tip = pen, tip_of(pen.brush)

    def __call__(self, action: Tensor, canvas: Tensor) -> Tensor:
        pairs = zip(self.pen.strokes(action), canvas, strict=True)
        return torch.stack([paint_twin(strokes, ground, self.tip) for strokes, ground in pairs])


class NeuralRenderer(nn.Module):
    """The renderer that has learned the engine's strokes."""

    def __init__(self, pen: Pen, network: nn.Module) -> None:
        super().__init__()
        self.pen, self.network = pen, network

    def forward(self, action: Tensor, canvas: Tensor) -> Tensor:
        alpha = self.network(action[..., SHAPE].flatten(0, 1)).unflatten(0, action.shape[:2])  # (N, k, 1, S, S)
        for mask, stroke in zip(alpha.unbind(1), action.unbind(1), strict=True):
            canvas = canvas + mask * (stroke[:, 10:, None, None] - canvas)
        return canvas


class NetworkConfig(Settings):
    """Which network learns the strokes."""

    architecture: Literal["original", "improved"] = "improved"
    """original: the paper's four linear layers and six convolutions; improved: fewer linear layers, residual
    convolutions on every scale."""
    activation: Literal["relu", "leaky_relu", "gelu", "silu"] = "relu"
    """Between the layers."""
    width: int = Field(512, ge=8)
    """Units of the first linear layer."""


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


def network_of(config: NetworkConfig, side: int) -> nn.Module:
    """A fresh network for canvases of side × side; side is a multiple of 8."""
    return (Original if config.architecture == "original" else Improved)(config, side)


class Original(nn.Module):
    """(N, 10) → alphas (N, 1, S, S): the paper's layers, the last linear one as large as the side asks for.

    Each pair of convolutions ends in sub-pixel upsampling, which doubles the side (Shi et al. 2016).
    """

    def __init__(self, config: NetworkConfig, side: int) -> None:
        super().__init__()
        sizes = [10, config.width, 2 * config.width, 4 * config.width, 16 * (side // 8) ** 2]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        channels = [(16, 32, 32), (8, 16, 16), (4, 8, 4)]
        self.first = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b, _ in channels)
        self.second = nn.ModuleList(nn.Conv2d(b, c, 3, padding=1) for _, b, c in channels)
        self.side, self.activation = side, ACTIVATIONS[config.activation]

    def forward(self, strokes: Tensor) -> Tensor:
        x = strokes
        for linear in self.linear:
            x = self.activation(linear(x))
        x = x.unflatten(1, (16, self.side // 8, self.side // 8))
        for first, second in zip(self.first, self.second, strict=True):
            x = F.pixel_shuffle(second(self.activation(first(x))), 2)
        return x.sigmoid()


class Improved(nn.Module):
    """(N, 10) → alphas (N, 1, S, S): two linear layers; on every scale a residual block, then sub-pixel upsampling.

    Weights start orthogonal with a ReLU's gain, and the numbers enter with mean 0 and variance 1: with PyTorch's own
    start a picture depends on its stroke by a thousandth, and learning that takes long. While it learns its output is
    free, not squeezed by a sigmoid, whose gradient dies where most pixels are bare.
    """

    def __init__(self, config: NetworkConfig, side: int) -> None:
        super().__init__()
        self.side, self.activation = side, ACTIVATIONS[config.activation]
        self.linear = nn.ModuleList([nn.Linear(10, config.width), nn.Linear(config.width, 64 * (side // 8) ** 2)])
        scales = [64, 32, 16]
        self.first = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in scales)
        self.second = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in scales)
        self.wider = nn.ModuleList(nn.Conv2d(c, 2 * c, 3, padding=1) for c in scales)
        self.last = nn.Conv2d(8, 1, 3, padding=1)
        for weight in (parameter for parameter in self.parameters() if parameter.ndim > 1):
            nn.init.orthogonal_(weight, 2**0.5)
        nn.init.orthogonal_(self.last.weight, 0.1)

    def forward(self, strokes: Tensor) -> Tensor:
        x = (strokes - 0.5) * 12**0.5
        for linear in self.linear:
            x = self.activation(linear(x))
        x = x.unflatten(1, (64, self.side // 8, self.side // 8))
        for first, second, wider in zip(self.first, self.second, self.wider, strict=True):
            x = self.activation(x + second(self.activation(first(x))))
            x = self.activation(F.pixel_shuffle(wider(x), 2))
        alpha = self.last(x)
        return alpha if self.training else alpha.clamp(0.0, 1.0)
