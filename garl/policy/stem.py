"""A policy's first layers, from the canvas on, fast on a CPU, there and back.

What they see beside the canvas, the grid of coordinates, is the same for all canvases: its share of the first maps is
convolved once and added to all, together with what each canvas is told; and on the way back it is convolved once with
the sum over the canvases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from garl.policy import chain
from garl.policy.fused import add_and_rectify, bits, rectify_back


def stem(canvas: Tensor, grid: Tensor, condition: Tensor | None, layers: Sequence[nn.Conv2d]) -> Tensor:
    """ReLU(… layer₁(ReLU(layer₀(`see`(canvas) ‖ grid) + condition)) …).

    canvas: (N, C, H, W) uint8 on a CPU; grid: (1, G, H, W) float32; condition: (N, c), a number to add to each of the
    first maps. The first layer leaves height and width as they are.
    """
    if condition is None:
        condition = torch.zeros(len(canvas), layers[0].out_channels)
    dtype, learned = chain.precision(layers[0]), chain.parameters(layers)
    if torch.is_grad_enabled():
        return _Stem.apply(layers, dtype, canvas, grid, condition, *learned)
    return torch.cat([maps[-1] for maps in pieces(layers, dtype, canvas, grid, condition, learned)])


def see(canvas: Tensor, dtype: torch.dtype) -> Tensor:
    """Canvases (N, C, H, W) uint8 as networks see them, −1..1; channels last, even where there is but one."""
    n, channels, height, width = canvas.shape
    pixels = canvas.permute(0, 2, 3, 1).reshape(n, -1).view(n, height, width, channels)
    return (pixels / 127.5 - 1.0).to(dtype).permute(0, 3, 1, 2)


def parted(weight: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The weights of a layer (c, C + G, k, k) for the canvas and for the grid, channels last."""
    of_canvas, of_grid = (part.permute(0, 2, 3, 1).contiguous() for part in weight.tensor_split([channels], 1))
    return of_canvas.permute(0, 3, 1, 2), of_grid.permute(0, 3, 1, 2)


def pieces(
    layers: Sequence[nn.Conv2d],
    dtype: torch.dtype,
    canvas: Tensor,
    grid: Tensor,
    condition: Tensor,
    learned: Sequence[Tensor],
) -> Iterator[list[Tensor]]:
    """Piece by piece, what is seen of the canvas and what comes out of each layer."""
    first, *rest = layers
    weights = [each.to(dtype) for each in learned[2:]]
    of_canvas, of_grid = parted(learned[0], canvas.shape[1])
    with torch.autocast("cpu", enabled=False):
        same = F.conv2d(grid, of_grid, learned[1], padding=first.padding)  # (1, c, H, W)
    everywhere, of_canvas = same.permute(0, 2, 3, 1).flatten(0, 2).contiguous().numpy(), of_canvas.to(dtype)
    size = chain.in_a_piece(layers, canvas, dtype)
    for part, told in zip(canvas.split(size), condition.float().split(size), strict=True):
        seen = see(part, dtype)
        y = F.conv2d(seen, of_canvas, padding=first.padding)
        add_and_rectify(bits(y), everywhere, told.numpy())
        yield [seen, *chain.ahead(rest, weights, y, True)]


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        layers: Sequence[nn.Conv2d],
        dtype: torch.dtype,
        canvas: Tensor,
        grid: Tensor,
        condition: Tensor,
        *learned: Tensor,
    ) -> Tensor:
        found = list(pieces(layers, dtype, canvas, grid, condition, learned))
        ctx.layers, ctx.size, ctx.told = layers, len(found[0][0]), condition.dtype
        weights = (each.to(dtype) for each in learned[2::2])
        ctx.save_for_backward(grid, *weights, *(y for maps in found for y in maps))
        return torch.cat([maps[-1] for maps in found])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (first, *rest), n = ctx.layers, len(ctx.layers)
        (grid, *weights), maps = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        (height, width), channels = grid.shape[2:], first.out_channels
        everywhere, condition = torch.zeros(height * width, channels), torch.zeros(len(grad), channels)
        sums = chain.zeros(ctx.layers)
        of_canvas, of_grid = parted(sums[0], first.in_channels - grid.shape[1])
        alike = of_canvas.to(grad.dtype)  # of the weights, their gradient asks for shape and precision only
        for piece, (g, told) in enumerate(zip(grad.split(ctx.size), condition.split(ctx.size), strict=True)):
            seen, *own = maps[piece * (n + 1) : (piece + 1) * (n + 1)]

            def between(inner: Tensor, y: Tensor = own[0], told: Tensor = told) -> None:
                rectify_back(bits(inner), bits(y), everywhere.numpy(), told.numpy())

            inner = chain.back(rest, weights, own, g, True, sums[2:], between)
            of_canvas += chain.to_parameters(first, inner, seen, alike)[0]
        summed = everywhere.view(1, height, width, channels).permute(0, 3, 1, 2)
        of_grid, _ = chain.to_parameters(first, summed, grid, of_grid)
        of_first = torch.cat([of_canvas, of_grid], 1), condition.sum(0)
        return None, None, None, None, condition.to(ctx.told), *of_first, *sums[2:]
