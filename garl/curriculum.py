"""Which targets are painted, and in how many strokes, as an agent learns (PaintBot, Jia et al. 2019; thesis §3.3.1)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from garl.data.images import Images
from garl.settings import Settings


class CurriculumConfig(Settings):
    """What is easy at first. The defaults make nothing easier."""

    strokes: int = Field(0, ge=0)
    """Strokes of the first paintings, to which others are added one by one; 0: all from the start."""
    threshold: float = Field(0.5, gt=0.0, le=1.0)
    """Paintings of n of N strokes get one more as soon as their mean score is n/N of this."""
    targets: Literal["uniform", "difficulty"] = "uniform"
    """How pictures to paint are drawn: all alike, or the more often the worse they were last painted."""


def grown(strokes: int, most: int, score: float, threshold: float) -> int:
    """The strokes of the next paintings, at most `most`, where those of so many scored `score` in the mean.

    The threshold that has to be reached grows with them, as PaintBot's does: a painting of half the strokes has to
    remove half as much of the blank canvas's loss as a whole one.
    """
    return min(most, strokes + 1) if score >= threshold * strokes / most else strokes


class Targets(nn.Module):
    """Draws the pictures that are to be painted, and remembers how badly each was painted last; a run saves that.

    A picture that was never painted counts as one whose painting is no better than a blank canvas.
    """

    LEAST = 0.01
    """The least weight, so that no picture is forgotten; one that was never painted has weight 1."""
    error: Tensor  # (N,) float32, on the CPU, as the pictures are

    def __init__(self, images: Images, config: CurriculumConfig) -> None:
        super().__init__()
        self.images, self.config = images, config
        self.places = torch.empty(0, dtype=torch.int64)  # of those drawn last
        by_difficulty = config.targets == "difficulty"
        self.register_buffer("error", torch.ones(len(images) if by_difficulty else 0), persistent=by_difficulty)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` pictures, (n, C, H, W) uint8 on the CPU."""
        weight = self.error if self.config.targets == "difficulty" else None
        pictures, self.places = self.images.placed_batch(n, generator, weight)
        return pictures

    def learn(self, score: Tensor) -> None:
        """Remember the scores (n,) of the paintings of the pictures drawn last, as `Likeness` gives them."""
        if self.config.targets == "difficulty":
            error = (1.0 - score).clamp(min=self.LEAST).to("cpu")
            self.error.numpy()[self.places.numpy()] = error.numpy()  # where a picture came twice, the later one counts
