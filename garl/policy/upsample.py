"""A transposed convolution that is fast on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

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
    """The transposed convolution 4×4 with stride 2 and padding 1, (N, C, H, W) → (N, C', 2H, 2W)."""
    if len(weight) <= NARROW:
        return subpixel(x, weight, bias)
    return F.conv_transpose2d(x, weight, bias, 2, 1)
