"""The discriminator: a picture to one number, high for real (thesis §5.1, tables 5.1–5.2)."""

from __future__ import annotations

from typing import Literal

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


class Discriminator(nn.Module):
    """(N, C, H, W) in −1..1 → (N,) raw outputs; H and W at least 2. No sigmoid: the losses know what they need."""

    def __init__(self, canvas: tuple[int, int, int], config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        config = config or DiscriminatorConfig()
        channels, height, width = canvas
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
            channels = maps
        # A convolution over all that is left, 4×4 for a 64×64 canvas: one linear map of the last feature maps.
        layers.append(wrap(nn.Conv2d(channels, 1, (height, width))))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()
