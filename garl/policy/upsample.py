"""A transposed convolution that is fast on a CPU, there and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE, PADDING = [2, 2], [1, 1]
NARROW = 16
"""Up to so many channels oneDNN needs two to three times as long for the transposed convolution as for `subpixel`,
though that has more to multiply; for 64 it needs half as long."""


def subpixel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as a convolution 3×3 to the four pixels of each cell, which are then put in their places (Shi et al.
    2016): an even row of the output sees the rows before and at its cell by taps 3 and 1 of the four, an odd one the
    rows at and after it by 2 and 0."""
    taps = torch.tensor([[3, 1, 4], [4, 2, 0]], device=x.device)  # by parity and place; the fifth is zero
    parts = F.pad(weight, (0, 1, 0, 1))[:, :, taps][..., taps]  # (C, C', 2, 3, 2, 3)
    kernel = parts.permute(1, 2, 4, 0, 3, 5).flatten(0, 2)  # (4 C', C, 3, 3)
    return F.pixel_shuffle(F.conv2d(x, kernel, bias.repeat_interleave(4), padding=1), 2)


def transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Without a gradient, as it is fastest here."""
    if len(weight) <= NARROW:
        return subpixel(x, weight, bias)
    return F.conv_transpose2d(x, weight, bias, STRIDE, PADDING)


class Upsample(nn.ConvTranspose2d):
    """Transposed convolution 4×4 with stride 2: (N, C, H, W) → (N, C', 2H, 2W)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 4, STRIDE[0], PADDING[0])

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x, output_size)
        assert self.bias is not None
        # Autocast does not look into `apply`: x has its precision already.
        return _Upsample.apply(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class _Upsample(torch.autograd.Function):
    """oneDNN needs three times as long for the weights' gradient of a transposed convolution as for that of the
    convolution which it transposes; they are the same sum, with input and output changing places."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return transposed(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        transposed, _, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, STRIDE, PADDING, [1, 1], True, [0, 0], 1, [True, False, False]
        )
        _, weights, _ = torch.ops.aten.convolution_backward(
            x, grad, weight, None, STRIDE, PADDING, [1, 1], False, [0, 0], 1, [False, True, False]
        )
        return transposed, weights, grad.sum((0, 2, 3))
