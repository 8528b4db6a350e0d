"""Networks that look at a canvas and its target: ResNet-18, or a smaller one, with coordinate channels.

Source: Huang et al. 2019 §4.1; He et al. 2016; coordinates: Liu et al. 2018 (CoordConv); weight normalisation with
translated ReLUs in the critic: Xiang and Li 2017.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from garl.settings import Settings

SEEN = 9
"""Channels: canvas 3, target 3, progress 1, coordinates 2."""


class ResNetConfig(Settings):
    """Size of a residual network. The paper's ResNet-18 has width 64, two blocks and the mean of the last maps."""

    width: int = Field(24, ge=1)
    """Feature maps of the first stage; each of the three that follow has twice as many."""
    blocks: int = Field(1, ge=1)
    """Residual blocks of each of the four stages."""
    head: Literal["mean", "places"] = "places"
    """What the last layer sees: the mean of the last maps, or all their places."""


def seen(canvas: Tensor, target: Tensor, progress: Tensor) -> Tensor:
    """What the networks see (N, 9, H, W): canvas and target (N, 3, H, W), 0..1, the share (N,) of the actions that are
    painted, and each pixel's column and row, 0..1."""
    n, _, height, width = canvas.shape
    row = torch.linspace(0, 1, height, device=canvas.device)[:, None].expand(n, 1, height, width)
    column = torch.linspace(0, 1, width, device=canvas.device).expand(n, 1, height, width)
    plane = progress.view(n, 1, 1, 1).expand(n, 1, height, width)
    return torch.cat([canvas, target, plane, column, row], 1).contiguous(memory_format=torch.channels_last)


class TranslatedReLU(nn.Module):
    """max(x, a) with a learned a for each channel, 0 at the start (Xiang and Li 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.floor = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - self.floor) + self.floor


class Block(nn.Module):
    """Two convolutions, each normalised, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride, batch_norm)
        self.second = _convolution(outputs, outputs, 3, 1, batch_norm)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride, batch_norm)
        self.between, self.behind = (_activation(outputs, batch_norm) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.second(self.between(self.first(x))) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int, batch_norm: bool) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=not batch_norm)
    if batch_norm:
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
    return weight_norm(convolution)


def _activation(channels: int, batch_norm: bool) -> nn.Module:
    return nn.ReLU() if batch_norm else TranslatedReLU(channels)


class ResNet(nn.Module):
    """(N, 9, S, S) → (N, outputs), with batch norm (the actor) or with weight norm (the critic)."""

    def __init__(self, outputs: int, side: int, config: ResNetConfig, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(SEEN, config.width, 3, 2, batch_norm)]
        layers.append(_activation(config.width, batch_norm))
        side, channels = (side + 1) // 2, config.width
        for stage in range(4):
            wide = config.width * 2**stage
            for block in range(config.blocks):
                layers.append(Block(channels, wide, 2 if block == 0 else 1, batch_norm))
                channels = wide
            side = (side + 1) // 2
        self.layers, self.mean = nn.Sequential(*layers), config.head == "mean"
        self.last = nn.Linear(channels * (1 if self.mean else side**2), outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return self.last(x.mean((2, 3)) if self.mean else x.flatten(1))
