"""The discriminator: a picture to one number, high for real (thesis §5.1, tables 5.1–5.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from garl.settings import Settings

Norm = Literal["none", "layer", "instance", "batch"]


class DiscriminatorConfig(Settings):
    """Sizes and normalisation. The defaults are the thesis's."""

    channels: int = Field(64, ge=1)
    """k: the four layers have 2k, 4k, 8k and 16k feature maps."""
    norm: Norm = "none"
    """Normalisation after each hidden layer."""
    spectral_norm: bool = True
    """Divide each weight by its largest singular value (Miyato et al. 2018)."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of hidden feature maps dropped while the discriminator trains."""
    attention: int = Field(0, ge=0, le=4)
    """The hidden layer, from 1 to 4, that a block of self-attention follows; 0: none."""
    outputs: int = Field(1, ge=1)
    """Numbers that a picture is told by; more than one for the Cramér loss alone."""


class SelfAttention(nn.Module):
    """x + γ · attention(x) over all places of (N, C, H, W), with γ = 0 at the start (SAGAN, Zhang et al. 2018)."""

    def __init__(self, channels: int, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query, self.key, self.value = (wrap(nn.Conv2d(channels, narrow, 1, bias=False)) for _ in range(3))
        self.out = wrap(nn.Conv2d(narrow, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))  # (N, C/8, H·W)
        # Written out, as the gradient penalty differentiates twice, which the fused kernels cannot.
        attention = (query.transpose(1, 2) @ key).softmax(-1)  # (N, H·W, H·W): of each place to all others
        attended = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(attended)


class Discriminator(nn.Module):
    """(N, C, H, W) in −1..1 → (N,) raw outputs, or (N, outputs); H and W at least 2. No sigmoid: the losses
    know what they need.

    With `classes` it is told the class y of each picture, (N,) int64, and scores how well it is met, by projection:
    D(x, y) = ψ(φ(x)) + ⟨e_y, φ(x)⟩ (Miyato & Koyama 2018), where φ is all layers but the last and ψ the last. φ keeps
    its places, which the paper sums over: where something is may be what its class asks for.

    With `pairs` it is told the target of each picture, (N, C, H, W) in −1..1, and sees it behind the picture, as
    further channels (SPIRAL, Ganin et al. 2018; thesis §3.1).
    """

    def __init__(
        self,
        canvas: tuple[int, int, int],
        config: DiscriminatorConfig | None = None,
        classes: int = 0,
        pairs: bool = False,
    ) -> None:
        super().__init__()
        config = config or DiscriminatorConfig()
        channels, height, width = canvas
        self.pairs = pairs
        channels *= 1 + pairs
        wrap = spectral_norm if config.spectral_norm else lambda layer: layer
        layers: list[nn.Module] = []
        for i in range(4):
            maps = config.channels * 2 ** (i + 1)
            layers.append(wrap(nn.Conv2d(channels, maps, 3, 2, 1)))
            height, width = (height + 1) // 2, (width + 1) // 2
            if config.norm == "layer":
                layers.append(nn.GroupNorm(1, maps))
            elif config.norm == "instance" and height * width > 1:
                layers.append(nn.InstanceNorm2d(maps, affine=True))
            elif config.norm == "batch":
                layers.append(nn.BatchNorm2d(maps))
            layers.append(nn.LeakyReLU(0.2))
            if config.dropout:
                layers.append(nn.Dropout2d(config.dropout))
            if config.attention == i + 1:
                layers.append(SelfAttention(maps, wrap))
            channels = maps
        # A convolution over all that is left, 4×4 for a 64×64 canvas: one linear map of the last feature maps.
        layers.append(wrap(nn.Conv2d(channels, config.outputs, (height, width))))
        self.outputs = config.outputs
        self.layers = nn.Sequential(*layers)
        self.projection: nn.Module | None = None
        if classes:
            embedding = nn.Embedding(classes, channels * height * width)
            nn.init.kaiming_uniform_(embedding.weight, a=5**0.5)  # as large as the last layer's weights
            self.projection = wrap(embedding)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.pairs:
            assert condition is not None, "a discriminator of pairs needs the targets"
            images = torch.cat([images, condition], 1)
        features = self.layers[:-1](images)  # φ(x)
        score = self.layers[-1](features).flatten(0 if self.outputs == 1 else 1)
        if self.projection is not None:
            score = score + (self.projection(condition) * features.flatten(1)).sum(1)
        return score


class Committee(nn.Module):
    """Several discriminators, whose mean is the score (GMAN's mean, Durugkar et al. 2017 §3); each learns by itself."""

    def __init__(self, members: list[Discriminator]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.stack([member(images, condition) for member in self.members]).mean(0)
