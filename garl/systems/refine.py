"""The default painter: strokes put where the picture is worst, coarse to fine, and all of them refined together by
gradient through the engine's differentiable twin (`garl.engine.differentiable`).

The painting grows in stages, whose new strokes are ever smaller. In each stage

1. the strokes that would be missed least are taken away, to be painted anew;
2. new ones are laid where the squared error is large, along the target's edges, in the target's colour;
3. Adam (Kingma and Ba 2015) moves all strokes together, in every number, projected to the brush's ranges.

In the end `recolor` lets the engine itself paint every stroke once as a mask, and solves the colours for those masks:
with the masks fixed, the canvas is linear in the colours. So brushes with texture and jitter, which the twin does not
know, end in the colours that suit them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numba import njit
from pydantic import Field
from scipy.ndimage import gaussian_filter, sobel
from scipy.sparse.linalg import LinearOperator, lsqr
from torch import Tensor

from garl.brush.geometry import (
    BRUSH,
    COLOR,
    OPACITY,
    POINTS,
    POINTS_PER_TYPE,
    START_PRESSURE,
    STROKE_SIZE,
    THICKNESS,
)
from garl.brush.spec import Brush
from garl.commission import Commission
from garl.engine import differentiable
from garl.engine.differentiable import Tip, tip_of
from garl.engine.paint import render_strokes, untinted
from garl.palette import nearest
from garl.settings import Settings
from garl.systems.greedy import box
from garl.types import Ground

SNAP_SWEEPS = 10
"""Times at most that `snap` chooses every stroke's colour anew."""


class RefineConfig(Settings):
    """How the strokes are spread over the stages and refined."""

    stages: int = Field(24, ge=1)
    """Stages from coarse to fine."""
    steps: int = Field(40, ge=0)
    """Steps of Adam after each stage but the last."""
    last_steps: int = Field(300, ge=0)
    """Steps of Adam in the end."""
    point_rate: float = Field(0.004, gt=0)
    """Adam's step for the points, as a fraction of the canvas."""
    color_rate: float = Field(0.02, gt=0)
    """Adam's step for colours and opacities."""
    thickness_rate: float = Field(0.04, gt=0)
    """Adam's step for thicknesses, as a fraction of the stroke's first one."""
    fineness: float = Field(0.7, gt=0)
    """Thickness of the last stage's new strokes, times the square root of the number of strokes."""
    opacity: float = Field(0.5, ge=0, le=1)
    """Opacity that strokes begin with, between the brush's least and most."""
    growing: float = Field(0.6, gt=0, le=1)
    """Share of the stages in which the strokes grow in number; the rest only renew some."""
    renewed: float = Field(0.15, ge=0, lt=1)
    """Share of the strokes that each stage paints anew: those that would be missed least."""


def refine(asked: Commission, config: RefineConfig = RefineConfig()) -> np.ndarray:  # noqa: B008, it is frozen
    """A painter: as many strokes as it may paint. If its time is limited, each stage stops after its share of that."""
    count, brush, seconds = asked.count, asked.brush, asked.seconds
    rng, tip, started = np.random.default_rng(asked.seed), tip_of(brush), time.monotonic()
    picture, paper, free = as_tensors(asked.target, asked.ground)
    paint = through_twin(picture, paper, tip, free)
    steps = [config.steps] * (config.stages - 1) + [config.last_steps]
    strokes = torch.empty(0, STROKE_SIZE)
    for stage in range(config.stages):
        worth = differentiable.worth(strokes, picture, paper, tip, free)
        keep = worth.argsort(stable=True)[round(config.renewed * len(strokes)) :]
        strokes = strokes[keep.sort().values]
        grown = min(1.0, (stage + 1) / max(1.0, config.growing * config.stages))
        wanted = max(1, round(count * grown**2))
        size = thickness_at(brush, grown, count, config)
        canvas = differentiable.paint(strokes, paper, tip, free)
        new = propose(picture, canvas, max(0, wanted - len(strokes)), size, brush, config, rng)
        strokes = torch.cat([strokes, new])
        before, after = (sum(steps[:n]) / max(1, sum(steps)) for n in (stage, stage + 1))
        deadline = math.inf if seconds is None else started + after * seconds

        def show(
            share: float,
            error: float,
            canvas: Tensor,
            before: float = before,
            after: float = after,
            n: int = len(strokes),
        ) -> None:
            asked.progress(before + share * (after - before), n, error, (255 * canvas + 0.5).byte().numpy())

        strokes = descend(strokes, paint, picture.shape[1:], brush, steps[stage], deadline, config, show)
    return strokes.numpy()


def as_tensors(target: np.ndarray, ground: Ground) -> tuple[Tensor, Tensor, Tensor]:
    """Target and canvas, (3, H, W) float32, 0..1, and where that is free, (H, W) bool."""
    picture, paper = (torch.from_numpy(pixels.astype(np.float32) / 255) for pixels in (target, ground.canvas))
    return picture, paper, torch.from_numpy(ground.free)


def through_twin(picture: Tensor, paper: Tensor, tip: Tip, free: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What `descend` is told of strokes (T, 14): what the twin paints of them, and its squared error."""

    def paint(strokes: Tensor) -> tuple[Tensor, Tensor]:
        canvas = differentiable.paint(strokes, paper, tip, free)
        return canvas, ((canvas - picture) ** 2).mean()

    return paint


def thickness_at(brush: Brush, fraction: float, count: int, config: RefineConfig) -> float:
    """Thickness of the new strokes of a stage that comes after this fraction of the growth."""
    control = brush.spec.control
    fine = min(control.max_thickness, max(control.min_thickness, config.fineness / count**0.5))
    coarse = max(fine, min(control.max_thickness, 0.25))
    return coarse * (fine / coarse) ** fraction


def propose(
    picture: Tensor, canvas: Tensor, n: int, size: float, brush: Brush, config: RefineConfig, rng: np.random.Generator
) -> Tensor:
    """`n` strokes of about that thickness where `canvas` (3, H, W) differs most from `picture`."""
    height, width = picture.shape[1:]
    short, control = min(height, width), brush.spec.control
    radius = max(0.5, 0.5 * size * short)
    error = gaussian_filter(((picture - canvas) ** 2).sum(0).numpy(), 0.5 * radius) + 1e-9
    smooth = gaussian_filter(picture.numpy(), (0, 0.5 * radius, 0.5 * radius))
    slope_y, slope_x = (sobel(smooth, axis) for axis in (1, 2))
    tensor = [
        gaussian_filter((a * b).sum(0), radius) for a, b in ((slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y))
    ]
    angle = 0.5 * np.arctan2(2 * tensor[1], tensor[0] - tensor[2]) + np.pi / 2  # along the edges, across the slope
    chosen = rng.choice(error.size, n, p=(error / error.sum()).ravel())
    row, column = np.divmod(chosen, width)
    turn = angle[row, column] + rng.normal(0, 0.2, n)
    reach = size * short * rng.uniform(0.5, 1.5, n)
    centre = np.stack([column + rng.random(n), row + rng.random(n)], 1)
    along = np.stack([np.cos(turn), np.sin(turn)], 1) * reach[:, None]
    bend = np.stack([-along[:, 1], along[:, 0]], 1) * rng.uniform(-0.2, 0.2, (n, 1))
    corners = {1: [centre], 2: [centre - along, centre + along], 3: [centre - along, centre + bend, centre + along]}
    kind = brush.spec.stroke.type
    points = corners[POINTS_PER_TYPE[kind]]
    if kind == "triangle":
        points[1] = centre + np.stack([-along[:, 1], along[:, 0]], 1)
    points += [points[-1]] * (3 - len(points))
    strokes = np.zeros((n, STROKE_SIZE), np.float32)
    strokes[:, START_PRESSURE:BRUSH] = 1.0
    strokes[:, POINTS] = np.clip(np.concatenate(points, 1) / np.tile((width, height), 3), 0, 1)
    strokes[:, COLOR] = smooth[:, row, column].T
    strokes[:, THICKNESS] = np.clip(size * rng.uniform(0.7, 1.4, n), control.min_thickness, control.max_thickness)
    strokes[:, OPACITY] = control.min_opacity + config.opacity * (control.max_opacity - control.min_opacity)
    return torch.from_numpy(strokes)


def descend(
    strokes: Tensor,
    paint: Callable[[Tensor], tuple[Tensor, Tensor]],
    size: Sequence[int],
    brush: Brush,
    steps: int,
    deadline: float,
    config: RefineConfig,
    show: Callable[[float, float, Tensor], None],
) -> Tensor:
    """The strokes after `steps` steps of Adam, or at the deadline, each within its range; `paint` makes of them the
    canvas (3, H, W), whose (height, width) is `size`, and the error that is to be small."""
    control, (height, width) = brush.spec.control, size
    low, high = torch.zeros(STROKE_SIZE), torch.ones(STROKE_SIZE)
    low[THICKNESS], high[THICKNESS] = control.min_thickness, control.max_thickness
    low[OPACITY], high[OPACITY] = control.min_opacity, control.max_opacity
    rate = torch.full_like(strokes, config.color_rate)
    rate[:, POINTS] = config.point_rate * min(height, width) / torch.tensor([width, height]).repeat(3)
    rate[:, THICKNESS] = config.thickness_rate * strokes[:, THICKNESS]
    scaled = (strokes / rate).requires_grad_()  # so that one step of Adam is one rate, in every column
    adam = torch.optim.Adam([scaled], lr=1.0, betas=(0.9, 0.99))
    begun, step, spent = time.monotonic(), 0, 0.0 if steps else 1.0
    while spent < 1.0:
        adam.param_groups[0]["lr"] = min(1.0, 2.05 - 2.0 * spent)  # constant, and falling from the middle on
        canvas, error = paint(scaled * rate)
        adam.zero_grad()
        error.backward()
        adam.step()
        with torch.no_grad():
            scaled.copy_((scaled * rate).clamp(low, high) / rate)
        step += 1
        spent = max(step / steps, (time.monotonic() - begun) / max(1e-3, deadline - begun))
        show(min(spent, 1.0), error.item(), canvas.detach())
    return (scaled * rate).detach().clamp(low, high)


def recolor(strokes: np.ndarray, target: np.ndarray, ground: Ground, brush: Brush) -> np.ndarray:
    """The strokes (T, 14) in the colours that bring the engine's own canvas nearest to the target.

    Least squares in all colours at once (LSQR, Paige and Saunders 1982), started from those that the strokes have;
    colours beyond 0..1 are clipped, and what is not better for that is not taken.
    """
    picture, paper = (pixels.numpy() for pixels in as_tensors(target, ground)[:2])
    boxes, cover = masks(strokes, ground, brush)

    def painted(colors: np.ndarray, canvas: np.ndarray) -> np.ndarray:
        canvas = canvas.copy()
        lay(colors, boxes, cover, canvas)
        return canvas

    def forth(colors: np.ndarray) -> np.ndarray:
        return painted(colors.reshape(-1, 3).astype(np.float32), np.zeros_like(picture)).ravel()

    def back(canvas: np.ndarray) -> np.ndarray:
        return gather(canvas.reshape(picture.shape).astype(np.float32), boxes, cover).ravel()

    old = strokes[:, COLOR].copy()
    residual = picture - painted(old, paper)
    system = LinearOperator((picture.size, old.size), matvec=forth, rmatvec=back, dtype=np.float32)
    change = lsqr(system, residual.ravel(), damp=0.1, iter_lim=40)[0]
    new = np.clip(old + change.reshape(-1, 3), 0, 1).astype(np.float32)
    if np.square(picture - painted(new, paper)).sum() >= np.square(residual).sum():
        return strokes
    return np.concatenate([strokes[:, POINTS], new, strokes[:, THICKNESS:]], 1)


def snap(strokes: np.ndarray, target: np.ndarray, ground: Ground, brush: Brush, palette: np.ndarray) -> np.ndarray:
    """The strokes (T, 14) in colours of the palette (K, 3), 0..1: each takes the nearest in Oklab, and then, one after
    the other, the one that brings the engine's own canvas nearest to the target, until none changes."""
    picture, paper = (np.ascontiguousarray(pixels.numpy()) for pixels in as_tensors(target, ground)[:2])
    boxes, cover = masks(strokes, ground, brush)
    colors = palette[nearest(strokes[:, COLOR], palette)].astype(np.float32)
    canvas = paper.copy()
    lay(colors, boxes, cover, canvas)
    residual = picture - canvas
    for _ in range(SNAP_SWEEPS):
        if not choose(colors, palette.astype(np.float32), boxes, cover, residual):
            break
    return np.concatenate([strokes[:, POINTS], colors, strokes[:, THICKNESS:]], 1)


def masks(strokes: np.ndarray, ground: Ground, brush: Brush) -> tuple[np.ndarray, np.ndarray]:
    """What the engine covers with each of the strokes (T, 14), where it is free: boxes (T, 5) int64 of left, top,
    right, bottom and the pixels of all boxes before, and the alphas (N,) float32 in them, 0..1, opacity included."""
    white, prepared, seeds = strokes.copy(), untinted(brush), np.array([ground.seed], np.int64)
    height, width = ground.free.shape
    white[:, COLOR] = 1.0
    canvas, boxes, cover, pixels = np.zeros((1, 1, height, width), np.uint8), [], [], 0
    for i in range(len(white)):
        render_strokes(canvas, white[i : i + 1], seeds, ground.painted + i, prepared, threads=1)
        left, top, right, bottom = box(white[i], height, width, prepared.kind, prepared.parameters, prepared.reach)
        boxes.append((left, top, right, bottom, pixels))
        inside = canvas[0, 0, top:bottom, left:right]
        inside *= ground.free[top:bottom, left:right]
        cover.append(inside.ravel().astype(np.float32) / 255)
        pixels += inside.size
        inside[:] = 0
    return np.array(boxes, np.int64), np.concatenate(cover)


@njit(cache=True, nogil=True)
def lay(colors, boxes, cover, canvas):
    """Composite colours (T, 3) through their masks onto `canvas` (3, H, W) float32, in place."""
    for i in range(len(colors)):
        left, top, right, bottom, k = boxes[i]
        for y in range(top, bottom):
            for x in range(left, right):
                for channel in range(3):
                    canvas[channel, y, x] += cover[k] * (colors[i, channel] - canvas[channel, y, x])
                k += 1


@njit(cache=True, nogil=True)
def gather(slope, boxes, cover):
    """The adjoint of `lay` on a black canvas: (3, H, W) float32, which is used up, to (T, 3) float64."""
    gathered = np.zeros((len(boxes), 3), np.float64)
    for i in range(len(boxes) - 1, -1, -1):
        left, top, right, bottom, k = boxes[i]
        for y in range(top, bottom):
            for x in range(left, right):
                for channel in range(3):
                    gathered[i, channel] += cover[k] * slope[channel, y, x]
                    slope[channel, y, x] *= np.float32(1.0) - cover[k]
                k += 1
    return gathered


@njit(cache=True, nogil=True)
def choose(colors, palette, boxes, cover, residual):
    """Give each of the colours (T, 3), from the last to the first, that of `palette` (K, 3) with which the squared
    residual (3, H, W), target less canvas, is least; returns how many changed. In place.

    A stroke whose weight in the final canvas is w, its alpha through all later ones, has its best colour at
    colour + Σ w · residual / Σ w², and the error grows with the square of the distance from there.
    """
    through = np.ones(residual.shape[1:], np.float32)
    changed = 0
    for i in range(len(colors) - 1, -1, -1):
        left, top, right, bottom, start = boxes[i]
        pull, squares, k = np.zeros(3), 1e-9, start
        for y in range(top, bottom):
            for x in range(left, right):
                weight = through[y, x] * cover[k]
                squares += weight * weight
                for channel in range(3):
                    pull[channel] += weight * residual[channel, y, x]
                k += 1
        best = np.argmin(((colors[i] + pull / squares - palette) ** 2).sum(1))
        change = palette[best] - colors[i]
        colors[i] = palette[best]
        moved, k = (change != 0).any(), start
        changed += int(moved)
        for y in range(top, bottom):
            for x in range(left, right):
                if moved:
                    for channel in range(3):
                        residual[channel, y, x] -= through[y, x] * cover[k] * change[channel]
                through[y, x] *= np.float32(1.0) - cover[k]
                k += 1
    return changed
