"""Every shape that crosses a module boundary, stated once. Trajectories are time-major: (T, B, …).

T  strokes in an episode          B  canvases painted side by side
C  channels (1 or 3)              H, W  canvas height and width in pixels
D  dimensions of an action        Z  length of the noise vector
K  coordinates of an action: two for a location, one for any other dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Location:
    """A place on the canvas: ONE categorical over grid × grid cells; index = row · grid + column."""

    name: str
    grid: int

    @property
    def n(self) -> int:
        return self.grid**2


@dataclass(frozen=True)
class Scalar:
    """A number from `low` to `high` (both reached), cut into `n` equally spaced bins."""

    name: str
    n: int
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Flag:
    """Yes (1) or no (0)."""

    name: str

    @property
    def n(self) -> int:
        return 2


@dataclass(frozen=True)
class Choice:
    """One of `n` things that have no order."""

    name: str
    n: int


Dimension = Location | Scalar | Flag | Choice
ActionSpec = tuple[Dimension, ...]
"""What an engine offers and a policy is built from. An action is int64 (D,): one bin index per dimension; or
float32 (K,): for each coordinate a fraction 0..1 of its range, x before y."""


def coordinates(spec: ActionSpec) -> int:
    """K: the numbers in an action of fractions."""
    return sum(2 if isinstance(dimension, Location) else 1 for dimension in spec)


@dataclass(frozen=True, eq=False)
class Ground:
    """What a painter of given pictures paints on: blank paper, or a canvas that somebody began."""

    canvas: np.ndarray  # (3, H, W) uint8
    free: np.ndarray  # (H, W) bool: where paint stays; the rest is locked
    seed: int = 0  # by this, and by the numbers of strokes, the engine draws their jitter
    painted: int = 0  # strokes on the canvas, so that the next one has this number

    @classmethod
    def blank(cls, color: np.ndarray, size: tuple[int, int], seed: int = 0) -> Self:
        """Paper of one colour (3,) uint8, or grey (1,), (height, width) pixels large."""
        canvas = np.empty((3, *size), np.uint8)
        canvas[:] = color[:, None, None]
        return cls(canvas, np.ones(size, np.bool_), seed)


class Observation(NamedTuple):
    """What the policy sees before a stroke; leading dimensions are (B,) in a rollout, (N,) in a minibatch."""

    canvas: Tensor  # (N, frames · C, H, W) uint8, the newest frame first
    noise: Tensor  # (N, Z) float32, one draw per episode
    last_action: Tensor  # (N, D) int64, −1 before the first stroke; or (N, K) float32, then ½
    step: Tensor  # (N,) int64, strokes painted so far
    condition: Tensor  # (N,) int64, the class that is asked for; −1: none; or (N, C, H, W) uint8, the target


class Decision(NamedTuple):
    """What the policy answers."""

    action: Tensor  # (N, D) int64 or (N, K) float32
    log_prob: Tensor  # (N,) float32: log P(a|s), summed over the heads (eq. 5.1)
    entropy: Tensor  # (N,) float32: summed over the heads
    value: Tensor  # (N,) float32
    state: Tensor | None = None  # (N, 2 · recurrent) float32, a recurrent policy's memory after the stroke


@dataclass(frozen=True)
class Rollout:
    """B complete episodes of T strokes, as `rollout.collect` returns them."""

    observation: Observation  # each field (T, B, …)
    action: Tensor  # (T, B, D) int64 or (T, B, K) float32
    log_prob: Tensor  # (T, B) float32
    value: Tensor  # (T, B) float32; the value after the last stroke is 0 by definition
    entropy: Tensor  # (T, B) float32
    canvases: Tensor  # (T + 1, B, C, H, W) uint8, from the blank canvas to the final one
    strokes: Tensor  # (T, B, 14) float32, physical strokes as `garl.brush.geometry` lays them out
    seeds: Tensor  # (B,) int64, each painting's jitter seed
    state: Tensor | None = None  # (T, B, 2 · recurrent) float32, a recurrent policy's memory before each stroke
    anchor: Tensor | None = None  # (T, B) float32: what log_prob would be under the policy that is not to be left

    def __post_init__(self) -> None:
        steps, batch, _ = self.action.shape
        assert self.canvases.shape[:2] == (steps + 1, batch), "canvases must be (T + 1, B, …)"
        assert self.canvases.dtype == torch.uint8, "canvases at rest are uint8"
        for name in ("log_prob", "value", "entropy"):
            assert getattr(self, name).shape == (steps, batch), f"{name} must be (T, B)"

    @property
    def final(self) -> Tensor:
        """The finished paintings, (B, C, H, W) uint8."""
        return self.canvases[-1]
