"""The judge: a small digit classifier, the fixed eye that every figure of `garl.evaluate` looks through.

It expects the polarity of MNIST, light ink on a dark ground. `train_judge.py` made the weights shipped beside this
file; the architecture is read from a file's metadata, so that a second, independent judge loads the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from garl.errors import GarlError

SIDE = 28
FEATURES = 64
CLASSES = 10
BATCH = 512
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
MAX_STAGES, MAX_WIDTH, MAX_KERNEL = 4, 256, 9
"""Of a judge in a file: at most 64 MB of weights."""
SHIPPED = Path(__file__).with_name("judge.safetensors")


class Judge(nn.Module):
    """Stages of convolution, ReLU and pooling; 64 ReLU features; a linear head of 10 classes.

    Without batch norm a picture's features depend on that picture alone, in training as in use.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64), kernel: int = 3) -> None:
        super().__init__()
        self.widths, self.kernel = widths, kernel
        stages: list[nn.Module] = []
        for before, after in pairwise((1, *widths)):
            stages += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
        pooled = widths[-1] * (SIDE >> len(widths)) ** 2
        self.body = nn.Sequential(*stages, nn.Flatten(), nn.Linear(pooled, FEATURES), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, CLASSES))

    def forward(self, ink: Tensor) -> tuple[Tensor, Tensor]:
        """Ink (N, 1, 28, 28) float32 in 0..1 → features (N, 64), logits (N, 10)."""
        features = self.body(ink)
        return features, self.head(features)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) uint8 → the feature maps of each stage, each (N, d, h, w) float32, on their device."""
        x, maps = as_ink(images), []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        return maps

    def features(self, images: Tensor | np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) uint8 → features (N, 64) float64, ≥ 0."""
        return self.look(images)[0]

    def classify(self, images: Tensor | np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) uint8 → the likeliest digits (N,) int64."""
        return self.look(images)[1]

    @torch.inference_mode()
    def look(self, images: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, C, H, W) uint8 → features (N, 64) float64 and digits (N,) int64, in one pass."""
        features, digits = np.empty((len(images), FEATURES)), np.empty(len(images), np.int64)
        for rows, ink in _batches(images):
            seen, logits = self(ink)
            features[rows], digits[rows] = seen.numpy(), logits.argmax(1).numpy()
        return features, digits

    def save(self, path: str | Path, **facts: str) -> None:
        """Write the weights with the architecture, and any further facts, as metadata."""
        facts |= {"widths": " ".join(map(str, self.widths)), "kernel": str(self.kernel)}
        save_file(self.state_dict(), path, metadata=facts)


@cache
def load_judge(path: str | Path | None = None) -> Judge:
    """The judge in `path` (None: the shipped one) in evaluation mode; loaded once.

    Raises GarlError if there is none, or it is damaged, or larger than 4 stages of 256 maps.
    """
    path = Path(path or SHIPPED)
    if not os.path.isfile(path):
        raise GarlError(f"no judge at {path}: make one with `python -m garl.evaluate.train_judge --out FILE`")
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            widths, kernel = tuple(map(int, facts["widths"].split())), int(facts["kernel"])
            if not (1 <= len(widths) <= MAX_STAGES and min(widths) >= 1 and max(widths) <= MAX_WIDTH):
                raise ValueError(f"widths {widths}")
            if not (1 <= kernel <= MAX_KERNEL and kernel % 2):  # an even one would change the size of what it sees
                raise ValueError(f"kernel {kernel}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights.values()):
            raise ValueError("weights are finite and float32")
        with torch.random.fork_rng(devices=[]):  # whether it was loaded before is nothing to a run's draws
            judge = Judge(widths, kernel)
        judge.load_state_dict(weights)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GarlError(f"{path} is not a judge: give a file that garl.evaluate.train_judge wrote") from error
    return judge.eval().requires_grad_(False)


def as_ink(images: Tensor) -> Tensor:
    """Images (N, C, H, W) uint8, grey or colour, any size → luma (N, 1, 28, 28) float32 in 0..1."""
    ink = images.float() / 255
    if ink.shape[1] == 3:
        ink = (ink * torch.tensor(LUMA, device=ink.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if ink.shape[2:] != (SIDE, SIDE):
        ink = F.interpolate(ink, (SIDE, SIDE), mode="bilinear", antialias=True)
    return ink


def _batches(images: Tensor | np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """The rows of each batch, and its ink."""
    images = images.cpu().numpy() if isinstance(images, Tensor) else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        found = f"{images.shape} {images.dtype}"
        raise GarlError(f"the judge sees images (N, 1 or 3, H, W) uint8, not {found}: convert them first")
    for start in range(0, len(images), BATCH):
        rows = slice(start, min(start + BATCH, len(images)))
        yield rows, as_ink(torch.tensor(images[rows]))  # a copy: the array may be read-only
