"""Convolutions one after the other, fast on a CPU, there and back.

Large feature maps cost more to move than to compute: here they are made, and gone through again on the way back, in
pieces that stay in a processor's cache; and what PyTorch does layer by layer but need not is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from garl.policy.upsample import transposed

PIECE = 4 << 20
"""Bytes of the largest feature maps in a piece."""
CONVOLUTION_BACK = torch.ops.aten.convolution_backward
RELU_BACK = torch.ops.aten.threshold_backward

Convolution = nn.Conv2d | nn.ConvTranspose2d


class Convolutions(nn.Sequential):
    """Convolutions, ReLUs between them, and one behind them or not; in pieces on a CPU.

    Transposed convolutions are 4×4 with stride 2 and padding 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        layers = [layer for layer in self if isinstance(layer, Convolution)]
        x, rectified = x.to(precision(layers[0])), isinstance(self[-1], nn.ReLU)
        if torch.is_grad_enabled():
            return _Convolutions.apply(layers, rectified, x, *parameters(layers))
        weights = [each.to(x.dtype) for each in parameters(layers)]
        return torch.cat(
            [ahead(layers, weights, part, rectified)[-1] for part in x.split(in_a_piece(layers, x, x.dtype))]
        )


class _Convolutions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layers: Sequence[Convolution], rectified: bool, x: Tensor, *learned: Tensor) -> Tensor:
        weights = [each.to(x.dtype) for each in learned]
        pieces = [ahead(layers, weights, part, rectified) for part in x.split(in_a_piece(layers, x, x.dtype))]
        ctx.layers, ctx.rectified, ctx.size = layers, rectified, len(pieces[0][0])
        ctx.save_for_backward(*weights[::2], *(y for maps in pieces for y in maps))
        return torch.cat([maps[-1] for maps in pieces])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        n = len(ctx.layers)
        weights, maps = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        sums = zeros(ctx.layers)
        inputs = [
            back(ctx.layers, weights, maps[piece * (n + 1) : (piece + 1) * (n + 1)], g, ctx.rectified, sums)
            for piece, g in enumerate(grad.split(ctx.size))
        ]
        return None, None, torch.cat(inputs), *sums


def ahead(layers: Sequence[Convolution], weights: Sequence[Tensor], x: Tensor, rectified: bool) -> list[Tensor]:
    """x, and what comes out of each layer, with weights and biases in the precision of x."""
    maps = [x]
    for i, layer in enumerate(layers):
        y = forward(layer, maps[i], *weights[2 * i : 2 * i + 2])
        maps.append(y.relu_() if rectified or i < len(layers) - 1 else y)
    return maps


def back(
    layers: Sequence[Convolution],
    weights: Sequence[Tensor],
    maps: Sequence[Tensor],
    grad: Tensor,
    rectified: bool,
    sums: Sequence[Tensor],
    between: Callable[[Tensor], None] = lambda _: None,
) -> Tensor:
    """From the gradient of the last of `ahead`'s maps to that of the first. What the weights and biases get is added to
    `sums`, float32 whatever the precision. `between` is given the first one's gradient before the first layer's weights
    get theirs."""
    if rectified:
        grad = RELU_BACK(grad, maps[-1], 0)
    for i, (layer, weight) in reversed(list(enumerate(zip(layers, weights, strict=True)))):
        x = maps[i]
        before = to_input(layer, grad, x, weight)
        # This reads x in order. What comes next does not, and is faster where x is in the cache by then.
        if i > 0:
            RELU_BACK.grad_input(before, x, 0, grad_input=before)
        else:
            between(before)
        for running, part in zip(sums[2 * i : 2 * i + 2], to_parameters(layer, grad, x, weight), strict=True):
            running += part
        grad = before
    return grad


def residual(x: Tensor, blocks: Sequence[tuple[Convolution, Convolution]]) -> Tensor:
    """x ← ReLU(x + ReLU(narrow(ReLU(wide(x))))) for all blocks (wide, narrow); x: (N, c, H, W) on a CPU, ≥ 0.

    No sum is negative then, and the ReLU after it has nothing to do; nor on the way back: where the sum is 0, so is
    either part of it, and neither of their ReLUs lets a gradient through.
    """
    if not blocks:
        return x
    layers = [layer for block in blocks for layer in block]
    return _Residual.apply(blocks, x.to(precision(layers[0])), *parameters(layers))


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Sequence[tuple[Convolution, Convolution]], x: Tensor, *learned: Tensor) -> Tensor:
        weights = [each.to(x.dtype) for each in learned]
        maps: list[Tensor] = []
        for k, block in enumerate(blocks):
            own = ahead(block, weights[4 * k : 4 * k + 4], x, True)
            maps += own
            x = x + own[-1]
        ctx.blocks = blocks
        ctx.save_for_backward(*weights[::2], *maps)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, maps = ctx.saved_tensors[: 2 * len(ctx.blocks)], ctx.saved_tensors[2 * len(ctx.blocks) :]
        sums = zeros([layer for block in ctx.blocks for layer in block])
        for k, block in reversed(list(enumerate(ctx.blocks))):
            own = maps[3 * k : 3 * k + 3]

            def between(_: Tensor, x: Tensor = own[0]) -> None:
                x.sum()  # for nothing but to read x in order

            grad = back(block, weights[2 * k : 2 * k + 2], own, grad, True, sums[4 * k : 4 * k + 4], between).add_(grad)
        return None, grad, *sums


def parameters(layers: Sequence[Convolution]) -> list[Tensor]:
    """Weights and bias of each."""
    return [parameter for layer in layers for parameter in layer.parameters()]


def zeros(layers: Sequence[Convolution]) -> list[Tensor]:
    """Where the gradients of their `parameters` are summed."""
    return [torch.zeros_like(parameter) for parameter in parameters(layers)]


def precision(layer: Convolution) -> torch.dtype:
    """What autocast would have a layer compute in."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype


def in_a_piece(layers: Sequence[Convolution], x: Tensor, dtype: torch.dtype) -> int:
    """How many of x make maps of a piece's size."""
    area, largest = x[0, 0].numel(), 1
    for layer in layers:
        times = layer.stride[0] ** 2
        area = area * times if layer.transposed else area // times
        largest = max(largest, area * layer.out_channels)
    return max(1, PIECE // (largest * dtype.itemsize))


def forward(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What a layer makes of x."""
    if layer.transposed:
        return transposed(x, weight, bias)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding)


def to_input(layer: Convolution, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a layer's input."""
    settings = layer.stride, layer.padding, layer.dilation, layer.transposed, (0, 0), 1
    return CONVOLUTION_BACK(grad, x, weight, None, *settings, (True, False, False))[0]


def to_parameters(layer: Convolution, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of a layer's weights and bias."""
    settings = layer.stride, layer.padding, layer.dilation, False, (0, 0), 1
    if layer.transposed:
        # oneDNN needs three times as long for the weights' gradient of a transposed convolution as for that of the
        # convolution which it transposes; they are the same sum, with input and output changing places.
        of_weight = CONVOLUTION_BACK(x, grad, weight, None, *settings, (False, True, False))[1]
        return of_weight, grad.sum((0, 2, 3))
    _, of_weight, of_bias = CONVOLUTION_BACK(grad, x, weight, [layer.out_channels], *settings, (False, True, True))
    return of_weight, of_bias
