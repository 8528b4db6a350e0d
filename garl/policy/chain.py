"""Convolutions one after the other, fast on a CPU, there and back.

Large feature maps cost more to move than to compute: here they are made, and gone through again on the way back, in
pieces that stay in a processor's cache; and what PyTorch does layer by layer but need not is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

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


class Chain(NamedTuple):
    """ReLU(… layer₁(ReLU(layer₀(see(x)) + condition)) …), without the last ReLU where it is not `rectified`.

    `see` has no gradient. Transposed convolutions are 4×4 with stride 2 and padding 1.
    """

    layers: Sequence[Convolution]
    see: Callable[[Tensor], Tensor] = Tensor.detach
    rectified: bool = True

    def __call__(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x: (N, C, H, W) on a CPU; condition: (N, c), a number to add to each of the first layer's maps."""
        learned = [parameter for layer in self.layers for parameter in parameters(layer)]
        dtype = precision(self.layers[0])
        if torch.is_grad_enabled():
            return _Pieces.apply(self, dtype, x, condition, *learned)
        return torch.cat([maps[-1] for maps in self.pieces(dtype, x, condition, learned)])

    def in_a_piece(self, x: Tensor, dtype: torch.dtype) -> int:
        """How many of x make maps of a piece's size."""
        area, largest = x[0, 0].numel(), 1
        for layer in self.layers:
            times = layer.stride[0] ** 2
            area = area * times if layer.transposed else area // times
            largest = max(largest, area * layer.out_channels)
        return max(1, PIECE // (largest * dtype.itemsize))

    def pieces(
        self, dtype: torch.dtype, x: Tensor, condition: Tensor | None, learned: Sequence[Tensor]
    ) -> Iterator[list[Tensor]]:
        """Piece by piece, what goes into the first layer and what comes out of each."""
        weights = [each.to(dtype) for each in learned]
        size = self.in_a_piece(x, dtype)
        parts = x.split(size)
        conditions = [None] * len(parts) if condition is None else condition.split(size)
        for part, told in zip(parts, conditions, strict=True):
            maps = [self.see(part).to(dtype)]
            for i, layer in enumerate(self.layers):
                y = forward(layer, maps[i], *weights[2 * i : 2 * i + 2])
                if i == 0 and told is not None:
                    y.add_(rows(told, y.shape[3], dtype))
                maps.append(y.relu_() if self.rectified or i < len(self.layers) - 1 else y)
            yield maps


class Convolutions(nn.Sequential):
    """Convolutions and ReLUs between them, and behind them or not, as a `Chain` on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        layers = [layer for layer in self if isinstance(layer, Convolution)]
        return Chain(layers, rectified=isinstance(self[-1], nn.ReLU))(x)


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, chain: Chain, dtype: torch.dtype, x: Tensor, condition: Tensor | None, *learned: Tensor
    ) -> Tensor:
        pieces = list(chain.pieces(dtype, x, condition, learned))
        ctx.chain, ctx.dtype, ctx.told, ctx.size = chain, dtype, condition is not None, len(pieces[0][0])
        ctx.save_for_backward(*learned[::2], *(y for maps in pieces for y in maps))
        return torch.cat([maps[-1] for maps in pieces])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers, n = ctx.chain.layers, len(ctx.chain.layers)
        weights = [weight.to(ctx.dtype) for weight in ctx.saved_tensors[:n]]
        sums = [torch.zeros_like(parameter) for layer in layers for parameter in parameters(layer)]  # float32
        inputs, told = [], []
        for piece, g in enumerate(grad.split(ctx.size)):
            start = n + piece * (n + 1)
            maps = ctx.saved_tensors[start : start + n + 1]
            if ctx.chain.rectified:
                g = RELU_BACK(g, maps[n], 0)
            for i, (layer, weight) in reversed(list(enumerate(zip(layers, weights, strict=True)))):
                x, sees = maps[i], i == 0 and not ctx.needs_input_grad[2]
                before = None if sees else to_input(layer, g, x, weight)
                if i > 0:
                    # It reads x in order. What comes next does not, and is faster when x is in the cache by then.
                    RELU_BACK.grad_input(before, x, 0, grad_input=before)
                of_weight, of_bias = to_parameters(layer, g, x, weight)
                sums[2 * i] += of_weight
                sums[2 * i + 1] += of_bias
                if i == 0 and ctx.told:
                    told.append(over_pixels(g))
                g = before
            inputs.append(g)
        of_x = torch.cat(inputs) if ctx.needs_input_grad[2] else None
        return None, None, of_x, torch.cat(told) if ctx.told else None, *sums


def residual(x: Tensor, blocks: Sequence[tuple[Convolution, Convolution]]) -> Tensor:
    """x ← ReLU(x + ReLU(narrow(ReLU(wide(x))))) for all blocks (wide, narrow); x: (N, c, H, W) on a CPU, ≥ 0.

    No sum is negative then, and the ReLU after it has nothing to do; nor on the way back: where the sum is 0, so is
    either part of it, and neither of their ReLUs lets a gradient through.
    """
    if not blocks:
        return x
    learned = [parameter for block in blocks for layer in block for parameter in parameters(layer)]
    return _Residual.apply(blocks, x.to(precision(blocks[0][0])), *learned)


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Sequence[tuple[Convolution, Convolution]], x: Tensor, *learned: Tensor) -> Tensor:
        weights = [each.to(x.dtype) for each in learned]
        maps = []
        for (wide, narrow), k in zip(blocks, range(0, len(weights), 4), strict=True):
            inner = forward(wide, x, *weights[k : k + 2]).relu_()
            added = forward(narrow, inner, *weights[k + 2 : k + 4]).relu_()
            maps += [x, inner, added]
            x = x + added
        ctx.blocks = blocks
        ctx.save_for_backward(*weights[::2], *maps)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, maps = ctx.saved_tensors[: 2 * len(ctx.blocks)], ctx.saved_tensors[2 * len(ctx.blocks) :]
        found: list[Tensor] = []
        for k, (wide, narrow) in reversed(list(enumerate(ctx.blocks))):
            x, inner, added = maps[3 * k : 3 * k + 3]
            of_wide, of_narrow = weights[2 * k : 2 * k + 2]
            g = RELU_BACK(grad, added, 0)
            before = to_input(narrow, g, inner, of_narrow)
            RELU_BACK.grad_input(before, inner, 0, grad_input=before)
            last = to_parameters(narrow, g, inner, of_narrow)
            grad = to_input(wide, before, x, of_wide).add_(grad)
            x.sum()  # for nothing but to have x in the cache, as above
            found[:0] = [*to_parameters(wide, before, x, of_wide), *last]
        return None, grad, *(each.float() for each in found)


def parameters(layer: Convolution) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight, layer.bias


def precision(layer: Convolution) -> torch.dtype:
    """What autocast would have a layer compute in; it does not look into what has a backward pass of its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype


def rows(condition: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """A vector (N, c) for each canvas as rows (N, c, 1, W) to add to feature maps, since what is added pixel by pixel
    is slow; and in their precision, as a mixed sum takes 17 times as long."""
    row = condition.to(dtype)[:, :, None, None].expand(-1, -1, 1, width)
    return row.contiguous(memory_format=torch.channels_last)


def forward(layer: Convolution, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What a layer makes of x, with parameters in the precision of x."""
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


def over_pixels(grad: Tensor) -> Tensor:
    """The sums (N, c) of (N, c, H, W) over the pixels, as a product: torch's own sum takes five times as long."""
    pixels = grad.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H · W, c)
    return (pixels.new_ones(1, 1, pixels.shape[1]).expand(len(pixels), -1, -1) @ pixels)[:, 0]
