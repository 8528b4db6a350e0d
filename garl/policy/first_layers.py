"""The two layers at a canvas's full size, fast on a CPU, there and back.

Their feature maps are by far the largest tensors of a policy, and more of the time goes into moving them than into
multiplying: here they are made, and gone through again on the way back, in pieces that stay in a processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PIECE = 4 << 20
"""Bytes of the first feature maps in a piece."""
BACK = torch.ops.aten.convolution_backward
RELU_BACK = torch.ops.aten.threshold_backward


def see(canvas: Tensor, grid: Tensor) -> Tensor:
    """Canvases (N, C, H, W) uint8 as a network sees them: −1..1, and behind them the grid's channels (1, 2, H, W)."""
    x = canvas.to(grid.dtype) / 127.5 - 1.0
    return torch.cat([x, grid.expand(len(x), -1, -1, -1)], 1).contiguous(memory_format=torch.channels_last)


def rows(condition: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """A vector (N, c) for each canvas as rows (N, c, 1, W) to add to feature maps, since what is added pixel by pixel
    is slow; and in their precision, as a mixed sum takes 17 times as long."""
    row = condition.to(dtype)[:, :, None, None].expand(-1, -1, 1, width)
    return row.contiguous(memory_format=torch.channels_last)


def first_layers(canvas: Tensor, grid: Tensor, condition: Tensor | None, first: nn.Conv2d, down: nn.Conv2d) -> Tensor:
    """ReLU(down(ReLU(first(`see`(canvas, grid)) + condition))), (N, c, ⌈H/2⌉, ⌈W/2⌉); condition: (N, c).

    On a CPU, with a gradient for the layers and the condition, once.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else first.weight.dtype
    return _FirstLayers.apply(canvas, grid, condition, first.weight, first.bias, down.weight, down.bias, dtype)


class _FirstLayers(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        canvas: Tensor,
        grid: Tensor,
        condition: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        down_weight: Tensor,
        down_bias: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        layers = [each.to(dtype) for each in (weight, bias, down_weight, down_bias)]  # autocast does not look in here
        size = max(1, PIECE // (len(weight) * canvas[0, 0].numel() * dtype.itemsize))
        parts, pieces, out = canvas.split(size), [], []
        conditions = [None] * len(parts) if condition is None else condition.split(size)
        for piece, told in zip(parts, conditions, strict=True):
            x = see(piece, grid).to(dtype)
            maps = F.conv2d(x, layers[0], layers[1], padding=2)  # (n, c, H, W)
            if told is not None:
                maps.add_(rows(told, maps.shape[3], dtype))
            maps.relu_()
            out.append(F.conv2d(maps, layers[2], layers[3], 2, 1).relu_())
            pieces += [x, maps]
        result = torch.cat(out)
        ctx.save_for_backward(result, layers[0], layers[2], *pieces)
        ctx.size, ctx.told = size, condition is not None
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        result, weight, down_weight, *pieces = ctx.saved_tensors
        sums = [torch.zeros(shape) for shape in (weight.shape, weight.shape[:1], down_weight.shape, weight.shape[:1])]
        told = []
        each = zip(grad.split(ctx.size), result.split(ctx.size), pieces[::2], pieces[1::2], strict=True)
        for outer, out, x, maps in each:
            outer = RELU_BACK(outer, out, 0)
            inner, *down = BACK(
                outer, maps, down_weight, [len(weight)], [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [True, True, True]
            )
            RELU_BACK.grad_input(inner, maps, 0, grad_input=inner)
            _, of_weight, _ = BACK(
                inner, x, weight, None, [1, 1], [2, 2], [1, 1], False, [0, 0], 1, [False, True, False]
            )
            pixels = inner.permute(0, 2, 3, 1).flatten(1, 2)  # (n, H · W, c)
            # As a product: torch's sum over the pixels takes five times as long.
            total = (pixels.new_ones(1, 1, pixels.shape[1]).expand(len(pixels), -1, -1) @ pixels)[:, 0]
            told.append(total)
            for running, part in zip(sums, (of_weight, total.float().sum(0), *down), strict=True):
                running += part  # float32, whatever the precision
        condition = torch.cat(told) if ctx.told else None
        return None, None, condition, *sums, None
