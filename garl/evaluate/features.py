"""How alike two pictures look to a network: distances between convolutional feature maps, and their gradient.

The network that ships is small; `train_features.py` made it. `--features PATH` takes VGG16 instead, in torchvision's
names (`features.0.weight`, …) as safetensors, if the file has them with LPIPS's weights of the maps' channels
(`lin0.model.1.weight`, …; Zhang et al. 2018). No pickle is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from garl.errors import GarlError

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of each stage (Simonyan & Zisserman 2015, D); between the stages the maps are halved."""
SMALL = ((16, 16), (32, 32), (64, 64), (128,))
"""The network that ships."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that torchvision's networks were trained on, for each channel."""
SHIPPED = Path(__file__).with_name("features.safetensors")
BATCH = 128
PLACES = 2
"""A picture's features say what is in each of so many rows and columns of it: eyes above a mouth, not below."""
SCALE = 10.0
"""Of the features, so that distances between sets of pictures can be read without decimals."""


class Features(nn.Module):
    """Convolutions of 3×3 with ReLU, in stages. `weights` (d,) of each stage say how much its channels count."""

    def __init__(self, stages: Sequence[Sequence[int]] = SMALL, weights: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends, before = [], 3
        for widths in stages:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)  # numbered as torchvision numbers them
        self.weights = weights or [torch.ones(widths[-1]) for widths in stages]

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures (N, 3, H, W) float32, 0..1 → the maps (N, d, h, w) at the end of each stage."""
        smallest = 2 ** (len(self.ends) - 1)
        if min(pictures.shape[2:]) < smallest:
            raise GarlError(f"the features need {smallest} pixels a side, not {tuple(pictures.shape[2:])}")
        mean, deviation = (pictures.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        maps, x, start = [], (pictures - mean) / deviation, 0
        for end in self.ends:
            x = self.features[start:end](x)
            maps.append(x)
            start = end
        return maps

    @torch.inference_mode()
    def look(self, images: Tensor | np.ndarray) -> tuple[np.ndarray, None]:
        """Images (N, 1 or 3, H, W) uint8 → features (N, 4 d) float64 ≥ 0, the last stage's d maps averaged over each
        quarter of the picture, and None: this network knows no classes."""
        images, found = images.numpy(force=True) if isinstance(images, Tensor) else images, []
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.array(images[start : start + BATCH]))  # a copy: the array may be read-only
            maps = self(batch.expand(-1, 3, -1, -1).float() / 255)
            found.append(SCALE * F.adaptive_avg_pool2d(maps[-1], PLACES).flatten(1).double())
        return torch.cat(found).numpy(), None

    def distance(self, seen: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """What two pictures' maps differ by, (N,):

            Σₙ ‖wₙ^½ (φₙ − φₙ')‖² / (hₙ wₙ)        φ: the maps, at every place divided by their norm over the channels

        With w = 1 that is equation 3.1 of the thesis (PaintBot, Jia et al. 2019), where dₙ is divided out as each place
        has mean square 1/dₙ, and the unweighted distance of Zhang et al. (2018, eq. 1); with LPIPS's w it is theirs.
        """
        total = torch.zeros(len(seen[0]))
        for x, y, weight in zip(seen, target, self.weights, strict=True):
            difference = F.normalize(x, dim=1, eps=1e-8) - F.normalize(y, dim=1, eps=1e-8)
            total = total + (weight.view(-1, 1, 1) * difference.square()).sum(1).mean((1, 2))
        return total


def perceptual_distance(picture: np.ndarray, target: np.ndarray, features: Features) -> float:
    """Of two pictures (3, H, W) uint8 of one size, ≥ 0; 0: they look the same."""
    with torch.inference_mode():
        maps = [features(torch.tensor(each[None]).float() / 255) for each in (picture, target)]
        return float(features.distance(*maps))


@cache
def load_features(path: Path | None = None) -> Features:
    """The network in `path`, VGG16, or without one the network that ships; loaded once. Raises GarlError."""
    stages = VGG16 if path else SMALL
    with torch.random.fork_rng(devices=[]):  # whether it was loaded before is nothing to a run's draws
        network = Features(stages)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    lines = {f"lin{i}.model.1.weight": (1, widths[-1], 1, 1) for i, widths in enumerate(stages)}
    found = _read(path or SHIPPED, {**expected, **lines})
    for name, shape in expected.items():
        if name not in found:
            raise GarlError(
                f"{path} has no {name} of shape {tuple(shape)}: give VGG16's convolutions, named as in torchvision"
            )
    network.load_state_dict({name: found[name] for name in expected})
    if all(name in found for name in lines):
        network.weights = [found[name].flatten() for name in lines]
    return network.eval().requires_grad_(False)


def _read(path: Path, shapes: dict[str, Sequence[int]]) -> dict[str, Tensor]:
    """The tensors of these names and shapes that a file holds, in float32; it may come from a stranger."""
    try:
        with safe_open(path, "pt") as file:
            fitting = [
                name
                for name in file.keys()  # noqa: SIM118
                if name in shapes and tuple(file.get_slice(name).get_shape()) == tuple(shapes[name])
            ]
            tensors = {name: file.get_tensor(name).float() for name in fitting}
    except (SafetensorError, OSError) as error:
        raise GarlError(f"cannot read the features in {path}: give a safetensors file") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise GarlError(f"the features in {path} are not all finite: give another file")
    return tensors
