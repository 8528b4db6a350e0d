"""A network that paints the engine's strokes, so that a gradient flows through them: a learned twin, with texture.

It paints a stroke as a mask in a square patch, and the patches are laid on the canvas in turn, m ← patch:

    c ← c + opacity · m · (colour − c)

It is told a stroke's `form` (N, 2K + 1): the K points that the stroke type reads and the thickness, in units of the
patch. A patch is the square about the canvas (frame "canvas": Nakano 2019; the network learns every place anew), or the
one about the stroke ("stroke"): the engine paints a stroke alike wherever it lies and however large it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garl.brush.geometry import (
    BRUSH,
    COLOR,
    OPACITY,
    POINTS_PER_TYPE,
    STROKE_SIZE,
    THICKNESS,
)
from garl.brush.spec import Brush
from garl.engine.paint import PreparedBrushes, render_strokes

Frame = Literal["canvas", "stroke"]
COARSE = 8
"""Side of the maps that a decoder starts from."""


def points_of(brush: Brush) -> int:
    """K."""
    return POINTS_PER_TYPE[brush.spec.stroke.type]


def margin(brush: Brush) -> float:
    """How far a stroke reaches beyond its points, in thicknesses: half the diagonal of its largest dab, displaced."""
    dab = brush.spec.dab
    return math.sqrt(0.5) * max(dab.start_scale, dab.end_scale) * (1 + dab.jitter.scale) + dab.jitter.position


def random_strokes(n: int, brush: Brush, generator: torch.Generator) -> Tensor:
    """White, opaque strokes (n, 14) anywhere; thickness and length are uniform in their logarithms."""
    control, points = brush.spec.control, points_of(brush)
    size, length = torch.rand(2, n, generator=generator)
    place = torch.rand(n, 1, 2, generator=generator)
    steps = torch.randn(n, 3, 2, generator=generator) * (0.02 * 20.0**length)[:, None, None]
    steps[:, 0] = 0.0
    steps[:, points:] = 0.0  # points that are not read repeat the last
    strokes = torch.ones(n, STROKE_SIZE)
    strokes[:, :6] = (place + steps.cumsum(1)).clamp(0, 1).flatten(1)
    strokes[:, THICKNESS] = control.min_thickness * (control.max_thickness / control.min_thickness) ** size
    strokes[:, BRUSH] = 0.0
    return strokes


def place(strokes: Tensor, size: Sequence[int], frame: Frame, brush: Brush) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (N, 2) and half sides (N, 1) of the patches of strokes (N, 14), in units of the shorter side of a canvas
    of `size` (height, width), and the strokes' forms (N, 2K + 1)."""
    extent, points = _extent(size), points_of(brush)
    corners = strokes[:, : 2 * points].unflatten(1, (points, 2)) * extent
    thickness = strokes[:, THICKNESS, None]
    if frame == "canvas":
        centre = (extent / 2).expand(len(strokes), 2)
        half = (extent.max() / 2).expand(len(strokes), 1)
    else:
        low, high = corners.amin(1), corners.amax(1)
        centre = (low + high) / 2
        half = (high - low).amax(1, keepdim=True) / 2 + margin(brush) * thickness
    local = (corners - centre[:, None]) / (2 * half[:, None]) + 0.5
    return centre, half, torch.cat([local.flatten(1), thickness / (2 * half)], 1)


def _extent(size: Sequence[int]) -> Tensor:
    """Width and height (2,) of a canvas of `size` (height, width), in units of the shorter."""
    height, width = size
    return torch.tensor([width, height]) / min(size)


def painted(form: Tensor, side: int, prepared: PreparedBrushes, seeds: np.ndarray) -> Tensor:
    """What the engine paints of strokes of `form` (N, 2K + 1) in patches of their own: (N, 1, side, side), 0..1."""
    strokes = np.ones((len(form), STROKE_SIZE), np.float32)
    points = form[:, :-1].unflatten(1, (-1, 2))
    points = torch.cat([points, points[:, -1:].expand(-1, 3 - points.shape[1], -1)], 1)
    strokes[:, :6], strokes[:, THICKNESS], strokes[:, BRUSH] = points.flatten(1), form[:, -1], 0.0
    canvas = np.zeros((len(form), 1, side, side), np.uint8)
    render_strokes(canvas, strokes, seeds, 0, prepared, threads=1)
    return torch.from_numpy(canvas).float() / 255


class Decoder(nn.Module):
    """Codes (N, K) → masks (N, 1, side, side), 0..1: a perceptron, then convolutions that double the side thrice."""

    def __init__(self, code: int, side: int, width: int) -> None:
        super().__init__()
        factor = side // COARSE
        stages = int(math.log2(factor))
        widths = [max(8, 2 * width >> stage) for stage in range(stages + 1)]
        self.start = nn.Sequential(
            nn.Linear(code, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, widths[0] * COARSE**2)
        )
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], COARSE, COARSE)), nn.ReLU()]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        return self.logits(code).sigmoid()

    def logits(self, code: Tensor) -> Tensor:
        """The masks before the sigmoid."""
        return self.body(self.start(code))


class Encoder(nn.Module):
    """Masks (N, 1, side, side) → (N, out) and all maps on the way; it may be told (N, told) what each is to show."""

    def __init__(self, out: int, side: int, width: int, told: int = 0) -> None:
        super().__init__()
        widths = [1, width, 2 * width, 4 * width, 4 * width]
        self.told = nn.Linear(told, width) if told else None
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.end = nn.Linear(widths[-1] * (side >> 4) ** 2, out)

    def forward(self, x: Tensor, told: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if i == 0 and self.told is not None:
                x = x + self.told(told)[:, :, None, None]
            x = F.leaky_relu(x, 0.2)
            maps.append(x)
        return self.end(x.flatten(1)), maps


@dataclass(frozen=True, eq=False)
class NeuralStrokes:
    """A network (N, 2K + 1) → (N, 1, side, side) that has learned a brush's strokes in a frame."""

    network: nn.Module
    brush: Brush
    frame: Frame

    def masks(self, strokes: Tensor, size: Sequence[int]) -> Tensor:
        """What each of strokes (T, 14) covers of a canvas of `size` (H, W), without its opacity: (T, H, W)."""
        centre, half, form = place(strokes, size, self.frame, self.brush)
        patches, extent = self.network(form), _extent(size)
        # Where u = −1..1 on the canvas lies in the patch, −1..1: ((u + 1) extent / 2 − centre) / half.
        scale, shift = extent / (2 * half), (extent / 2 - centre) / half
        zero = torch.zeros(len(strokes))
        rows = torch.stack([scale[:, 0], zero, shift[:, 0], zero, scale[:, 1], shift[:, 1]], 1).view(-1, 2, 3)
        # A patch that is to shrink is first averaged down to at most twice the pixels that it gets.
        pixels = 2 * half.detach()[:, 0] * min(size)
        level = (patches.shape[-1] / pixels).log2().floor().clamp(0, int(math.log2(patches.shape[-1]))).int()
        masks = torch.empty(len(strokes), *size)
        for each in level.unique().tolist():
            chosen = (level == each).nonzero()[:, 0]
            small = F.avg_pool2d(patches[chosen], 2**each)
            grid = F.affine_grid(rows[chosen], [len(chosen), 1, *size], align_corners=False)
            masks = masks.index_copy(0, chosen, F.grid_sample(small, grid, align_corners=False)[:, 0])
        return masks

    def paint(self, strokes: Tensor, background: Tensor) -> Tensor:
        """The canvas (3, H, W) float32, 0..1, after strokes (T, 14) on `background` (3, H, W); differentiable."""
        alpha = strokes[:, OPACITY, None, None] * self.masks(strokes, background.shape[1:])
        last = torch.ones_like(background[:1])
        through = torch.cat([last, (1.0 - alpha).flip(0)]).cumprod(0).flip(0)  # of stroke t and all later ones
        return background * through[0] + torch.einsum("thw,tc->chw", through[1:] * alpha, strokes[:, COLOR])


def gap(masks: Tensor, engine: Tensor) -> float:
    """Mean |difference| of a network's masks and the engine's over the engine's mean, as `differentiable.gap`."""
    return float((masks - engine).abs().sum() / engine.sum())
