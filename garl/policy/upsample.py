"""A transposed convolution whose gradient is fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

STRIDE, PADDING = [2, 2], [1, 1]


class Upsample(nn.ConvTranspose2d):
    """Transposed convolution 4×4 with stride 2: (N, C, H, W) → (N, C', 2H, 2W)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 4, STRIDE[0], PADDING[0])

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
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
        return nn.functional.conv_transpose2d(x, weight, bias, STRIDE, PADDING)

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
