"""What a discriminator of pairs is not shown, so that it cannot compare them pixel by pixel (SPIRAL++, thesis §3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PATCHES = 4
"""Patches along each side of a picture."""


def draw_masks(images: Tensor, share: float, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """What is shown of pictures (N, C, H, W), and of their targets: 1, or 0 where hidden, each (N, 1, H, W) float32.

    Each patch is hidden with probability `share`, in the picture or in the target and never in both: with a share of 1
    no place is seen twice, and what is judged is whether the parts of one go on in the other. Without a generator: the
    same masks always.
    """
    draw = torch.rand(len(images), 1, PATCHES, PATCHES, generator=generator or torch.Generator().manual_seed(0))
    draw = F.interpolate(draw.to(images.device, non_blocking=True), images.shape[2:])  # the nearest patch
    return (draw >= share / 2).float(), (draw < 1 - share / 2).float()
