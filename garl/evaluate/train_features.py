"""Train the small network behind the perceptual distance; the shipped one is made by

    python -m garl.evaluate.train_features --data EMOJI.zip FASHION-MNIST --out garl/evaluate/features.safetensors

from Twitter's emoji (CC BY 4.0), Fashion-MNIST (MIT) in two random colours each, and random strokes that our own engine
paints. It learns to tell which of 2N crops come from the same picture (SimCLR, Chen et al. 2020, eq. 1), from the means
of its maps at every stage. Crops are mirrored and recoloured, never blurred or made noisy: that it is to notice.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor, nn

from garl.brush.spec import library, load_brush
from garl.data.images import load
from garl.engine.paint import PreparedBrushes, render_strokes
from garl.evaluate.features import Features, perceptual_distance

SIDE, CROP = 64, 32


@dataclass(frozen=True)
class FeatureTraining:
    """What the network is made from."""

    data: tuple[str, ...]
    """Sets of pictures, as `garl train --data` takes them."""
    out: Path
    """Where the .safetensors file goes."""
    each: int = 4000
    """Pictures of each set at most, and of our own engine's."""
    steps: int = 1500
    """Steps of Adam."""
    batch: int = 64
    """Pictures in a step, two crops of each."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    temperature: float = 0.2
    """τ of the loss."""
    seed: int = 0
    """Seeds weights, pictures and crops."""


def same_picture(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """−E[log softmax(cos(zᵢ, ·)/τ)] at zᵢ's partner, of 2N vectors (N, K) and (N, K) (Chen et al. 2020, eq. 1)."""
    n, vectors = len(first), F.normalize(torch.cat([first, second]), dim=1)
    alike = (vectors @ vectors.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(alike, torch.arange(2 * n).roll(n))


def crops(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Of each picture (N, 3, SIDE, SIDE), 0..1, a random part at CROP × CROP, maybe mirrored, in changed colours."""
    n = len(pictures)
    size = torch.empty(n).uniform_(0.4, 1.0, generator=generator)
    mirror = torch.randint(2, (n,), generator=generator) * 2.0 - 1.0
    place = (torch.rand(2, n, generator=generator) * 2 - 1) * (1 - size)
    zero = torch.zeros(n)
    rows = torch.stack([mirror * size, zero, place[0], zero, size, place[1]], 1).view(n, 2, 3)
    grid = F.affine_grid(rows, [n, 3, CROP, CROP], align_corners=False)
    part = F.grid_sample(pictures, grid, align_corners=False)
    mix = torch.eye(3) + 0.15 * torch.randn(n, 3, 3, generator=generator)
    light = 0.1 * torch.randn(n, 3, 1, 1, generator=generator)
    return (torch.einsum("nij,njhw->nihw", mix, part) + light).clamp(0, 1)


def painted(n: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures (N, 3, SIDE, SIDE) uint8 of 1 to 12 random strokes of a random brush on coloured paper."""
    pictures = np.empty((n, 3, SIDE, SIDE), np.uint8)
    pictures[:] = rng.integers(0, 256, (n, 3, 1, 1))
    brushes = [PreparedBrushes(load_brush(name)) for name in library()]
    for i, kind in enumerate(rng.integers(len(brushes), size=n)):
        for stroke in range(rng.integers(1, 13)):
            row = rng.random((1, 14)).astype(np.float32)
            row[0, 9:] = 0.05 + 0.4 * row[0, 9], 1.0, 1.0, 1.0, 0.0
            render_strokes(pictures[i : i + 1], row, np.array([i]), stroke, brushes[kind], threads=1)
    return pictures


def gather(config: FeatureTraining, rng: np.random.Generator) -> Tensor:
    """All pictures to learn from, (N, 3, SIDE, SIDE) float32, 0..1; grey ones between two random colours."""
    sets = [torch.from_numpy(painted(config.each, rng)).float() / 255]
    for data in config.data:
        array = load(data, size=(SIDE, SIDE), split="train", limit=config.each).array
        pictures = torch.tensor(array).float() / 255
        if pictures.shape[1] == 1:
            dark, light = torch.from_numpy(rng.random((2, len(pictures), 3, 1, 1), np.float32))
            pictures = dark + pictures * (light - dark)
        sets.append(pictures)
    return torch.cat(sets)


def train(config: FeatureTraining) -> Features:
    """A network that tells crops of one picture from those of others."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    pictures = gather(config, np.random.default_rng(config.seed))
    network = Features()
    head = nn.Linear(sum(len(weight) for weight in network.weights), 64)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    for step in range(config.steps):
        batch = pictures[torch.randint(len(pictures), (config.batch,), generator=generator)]
        seen = network(torch.cat([crops(batch, generator), crops(batch, generator)]))
        first, second = head(torch.cat([each.mean((2, 3)) for each in seen], 1)).chunk(2)
        loss = same_picture(first, second, config.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return network.eval().requires_grad_(False)


LEVELS = {"blur": (0.5, 1.0, 2.0, 4.0), "noise": (8.0, 16.0, 32.0, 64.0), "shift": (1, 2, 4, 8)}
"""Standard deviation in pixels; in levels of 255; pixels to the right."""


def spoilt(picture: np.ndarray, how: str, level: float, rng: np.random.Generator) -> np.ndarray:
    """The picture (3, H, W) uint8, blurred, noisy or shifted."""
    if how == "blur":
        return gaussian_filter(picture.astype(np.float32), (0, level, level)).round().astype(np.uint8)
    if how == "noise":
        return np.clip(picture + rng.normal(0, level, picture.shape), 0, 255).astype(np.uint8)
    return np.roll(picture, int(level), 2)


def check(pictures: np.ndarray, network: Features) -> dict[str, tuple[float, float]]:
    """Of pictures (N, 3, H, W) uint8: for each kind of damage the rank correlation of level and distance over all, and
    the share of the pictures that the distance ranks by level without a mistake."""
    rng, found = np.random.default_rng(0), {}
    for how, levels in LEVELS.items():
        distance = np.array([
            [perceptual_distance(spoilt(each, how, level, rng), each, network) for level in levels] for each in pictures
        ])  # fmt: skip
        ranked = (np.diff(distance, axis=1) > 0).all(1).mean()
        found[how] = float(spearmanr(np.tile(levels, len(pictures)), distance.ravel()).statistic), float(ranked)
    return found


def main() -> None:
    """Train, write in half precision, and say what it notices on pictures that it has not seen."""
    config = tyro.cli(FeatureTraining)
    torch.set_num_threads(1)
    network = train(config)
    command = shlex.join(["python", "-m", "garl.evaluate.train_features", *sys.argv[1:]])
    save_file({name: tensor.half() for name, tensor in network.state_dict().items()}, config.out, {"command": command})
    for data in config.data:
        unseen = load(data, size=(SIDE, SIDE), channels=3, split="test", limit=100).array
        for name, each in (("trained", network), ("untrained", Features().eval())):
            for how, (correlation, ranked) in check(unseen, each).items():
                print(f"{name}, {data}, {how}: rank correlation {correlation:.3f}, {ranked:.0%} ranked faultlessly")


if __name__ == "__main__":
    main()
