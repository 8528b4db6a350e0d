"""Train a judge on MNIST, in less than three minutes on one core; the shipped one is made by
python -m garl.evaluate.train_judge --data FOLDER --out garl/evaluate/judge.safetensors --seed 0

The independent judge of the benchmarks, never watched in training, differs in seed and architecture:
python -m garl.evaluate.train_judge --data FOLDER --out FILE --seed 1 --widths 24 32 --kernel 5 --epochs 6
"""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from garl.data.images import load
from garl.evaluate.judge import Judge, as_ink


@dataclass(frozen=True)
class JudgeTraining:
    """What a judge is made from."""

    data: str
    """Folder with the four MNIST files."""
    out: Path
    """Where the .safetensors file goes."""
    seed: int = 0
    """Seeds weights, order, augmentation and dropout."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels after each convolution."""
    kernel: int = 3
    """Side of every convolution, odd."""
    epochs: int = 9
    """Passes over the 60,000 pictures."""
    batch: int = 128
    """Pictures per step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""


def jitter(ink: Tensor, degrees: float = 10, scale: float = 0.1, shift: float = 2) -> Tensor:
    """Ink (N, 1, S, S), each picture turned, scaled and shifted (in pixels) by uniform draws up to these bounds."""
    turn, grow, right, down = torch.rand(4, len(ink)) * 2 - 1
    angle, factor = turn * math.radians(degrees), 1 + grow * scale
    cosine, sine = angle.cos() * factor, angle.sin() * factor
    unit = 2 * shift / ink.shape[-1]  # affine_grid spans -1..1
    rows = torch.stack([cosine, -sine, right * unit, sine, cosine, down * unit], 1).view(-1, 2, 3)
    return F.grid_sample(ink, F.affine_grid(rows, list(ink.shape), align_corners=False), align_corners=False)


def train(config: JudgeTraining) -> Judge:
    """A judge trained on the training split, in evaluation mode."""
    torch.manual_seed(config.seed)
    pictures = load(config.data, channels=1, split="train")
    images, labels = torch.as_tensor(pictures.array), torch.as_tensor(pictures.labels).long()
    judge = Judge(config.widths, config.kernel)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
    steps = config.epochs * math.ceil(len(images) / config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(images)).split(config.batch):
            _, logits = judge(jitter(as_ink(images[rows])))
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def main() -> None:
    """Train, measure on the test split, write."""
    config = tyro.cli(JudgeTraining)
    judge = train(config)
    unseen = load(config.data, channels=1, split="test")
    accuracy = (torch.as_tensor(judge.classify(unseen.array)) == torch.as_tensor(unseen.labels)).double().mean()
    command = shlex.join(["python", "-m", "garl.evaluate.train_judge", *sys.argv[1:]])
    judge.save(config.out, test_accuracy=f"{accuracy:.4f}", command=command)
    print(f"{config.out}: test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
